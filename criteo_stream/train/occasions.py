"""When to evaluate, to save and to stop: questions that come up after every step."""

import time
from dataclasses import dataclass
from typing import Final, NamedTuple

from criteo_stream.base.ranks import Ranks
from criteo_stream.runs.execution import Execution
from criteo_stream.train.signals import StopSignal

_AGREE_STEPS: Final = 8
"""Steps between two agreements of the ranks on whether to stop or to save."""


class Due(NamedTuple):
    """Actions due after a step, the same on every rank."""

    evaluate: bool
    save: bool
    stop: bool
    ends_epoch: bool


@dataclass(kw_only=True)
class Occasions:
    """Decides what is due after a step; all ranks ask after every step."""

    ranks: Ranks
    execution: Execution
    evaluate_every: int
    """Training rows of an epoch between evaluations; 0 evaluates at its end only."""
    epoch_rows: int
    """Training rows of an epoch."""
    signal: StopSignal

    def __post_init__(self) -> None:
        """Start the count of minutes."""
        self._saved_at = time.monotonic()

    def after(self, step: int, rows_before: int, rows: int, *, ends_epoch: bool) -> Due:
        """The actions due after a step.

        Args:
            step: counted from 1.
            rows_before: training rows seen before it.
            rows: training rows seen with it.
            ends_epoch: whether it was the last of its epoch.
        """
        stop, is_time = self._agreed(step)
        epoch_before = rows_before // self.epoch_rows * self.epoch_rows
        within = (rows_before - epoch_before, rows - epoch_before)
        evaluate = ends_epoch or _crosses(*within, self.evaluate_every)
        by_rows = _crosses(rows_before, rows, self.execution.checkpoint_every)
        save = evaluate or stop or is_time or by_rows
        return Due(evaluate, save=save, stop=stop, ends_epoch=ends_epoch)

    def saved(self) -> None:
        """Restart the count of minutes."""
        self._saved_at = time.monotonic()

    def _agreed(self, step: int) -> tuple[bool, bool]:
        """Whether any rank got a signal, and whether it is time to save.

        Several ranks agree every few steps only: each agreement is a message between all of them.
        """
        if self.ranks.world_size > 1 and step % _AGREE_STEPS:
            return False, False
        minutes = (time.monotonic() - self._saved_at) / 60
        is_time = 0 < self.execution.checkpoint_minutes <= minutes
        stop, save = self.ranks.any(self.signal.received is not None, is_time)
        return stop, save


def _crosses(before: int, now: int, every: int) -> bool:
    """Whether a multiple of ``every`` rows was passed; never for 0."""
    return every > 0 and now // every > before // every
