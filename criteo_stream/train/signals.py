"""SIGTERM and Ctrl-C: stop after the step under way, with a checkpoint."""

import os
import signal
import socket
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

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
                with suppress(OSError):  # closed, or full
                    os.write(2, _DEAF)
                os._exit(1)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._heard.set()
        interrupted = number == signal.SIGINT and self._alone
        if interrupted and self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if interrupted:
            with suppress(OSError):
                os.write(2, _ADVICE)  # a stream may be in the middle of a write of its own
