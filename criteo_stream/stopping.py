"""When to stop a run: a signal, or figures that no longer get better."""

import os
import signal
import socket
import threading
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Final, Self

from criteo_stream.config import MONITORS

_PATIENCE: Final = 10.0
"""Seconds after a signal in which the main thread must have heard of it."""
_DEAF: Final = (
    b"error: this rank was told to stop while it waits for another one, which does not answer; "
    b"the same command again continues from the last checkpoint\n"
)
_ADVICE: Final = b"\nstopping after this step, with a checkpoint; Ctrl-C again ends at once\n"


class StopSignal:
    """Within its block, SIGTERM and Ctrl-C set a flag instead of ending the process.

    Python runs handlers between two steps of its main thread, which takes none while it waits in
    a collective. A rank whose partner is gone or hangs would not hear the signal, and torchrun
    would wait 30 s before it kills it; so a thread ends the process where the flag is not set
    within some seconds. Nothing is lost by it: whoever waits in a collective is not saving.

    Args:
        alone: the only rank. Then a second Ctrl-C ends the process at once; not under torchrun,
            which forwards the signal, so that one Ctrl-C may arrive twice.
    """

    def __init__(self, *, alone: bool) -> None:
        self.received: signal.Signals | None = None
        self._alone = alone
        self._before: dict[signal.Signals, Any] = {}
        self._heard = threading.Event()
        self._arrivals: socket.socket | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may handle signals
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._receive)
        if not self._alone:
            self._arrivals, watched = socket.socketpair()
            self._arrivals.setblocking(False)
            signal.set_wakeup_fd(self._arrivals.fileno())
            threading.Thread(target=self._watch, args=[watched], daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._arrivals is not None:
            signal.set_wakeup_fd(-1)
            self._arrivals.close()

    def _watch(self, arrivals: socket.socket) -> None:
        with arrivals:
            if arrivals.recv(1) and not self._heard.wait(_PATIENCE):
                os.write(2, _DEAF)
                os._exit(1)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._heard.set()
        interrupted = number == signal.SIGINT and self._alone
        if interrupted and self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if interrupted:
            os.write(2, _ADVICE)  # a stream may be in the middle of a write of its own


@dataclass
class BestFigure:
    """The best figure so far, and how many evaluations ago it was."""

    monitor: str
    patience: int
    """Evaluations without a better one before stopping; 0 never stops."""
    best: dict[str, Any] | None = None
    """The evaluation with the best figure."""
    waited: int = 0

    def update(self, evaluation: dict[str, Any]) -> bool:
        """Take an evaluation in; whether it is the best so far.

        An undefined figure (AUC of a set without positives or negatives) says nothing: the
        latest weights then count as best, and patience is not used up.
        """
        figure = evaluation[self.monitor]
        if figure is None:
            self.best = evaluation
            return True
        if self.best is None or self.best[self.monitor] is None:
            better = True
        elif MONITORS[self.monitor] == "max":
            better = figure > self.best[self.monitor]
        else:
            better = figure < self.best[self.monitor]
        self.best = evaluation if better else self.best
        self.waited = 0 if better else self.waited + 1
        return better

    @property
    def step(self) -> int | None:
        """Step of the best evaluation."""
        return None if self.best is None else int(self.best["step"])

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= self.waited

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self.best, self.waited = state["best"], state["waited"]
