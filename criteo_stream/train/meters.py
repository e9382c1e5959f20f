"""Meters of a run under way: its training loss and its time."""

import math
import time

import torch
from torch import Tensor

from criteo_stream.base.ranks import Ranks


class RunningLoss:
    """Mean training loss since the last evaluation, over all ranks.

    Each rank's sum is kept apart, in checkpoints too: a continued run adds the same numbers in
    the same order, whenever it was stopped.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._sum = torch.zeros((), dtype=torch.float64, device=ranks.device)
        self._sound = torch.zeros((), dtype=torch.int64, device=ranks.device)
        """Steps after which the sum was finite."""
        self._rows = self._steps = 0

    def add(self, loss_sum: Tensor, rows: int) -> None:
        """Add the summed loss of this rank's rows of a batch."""
        self.accumulate(loss_sum)
        self.count(rows)

    def accumulate(self, loss_sum: Tensor) -> None:
        """The part of `add` that the device does: all that a captured step can hold."""
        self._sum += loss_sum
        if self._sum.device.type == "cuda":
            self._sound += self._sum.isfinite()

    def count(self, rows: int) -> None:
        """The part of `add` that the host does."""
        self._rows += rows
        self._steps += 1

    def steps_since_finite(self) -> int:
        """Steps since this rank's sum was finite for the last time: 0, if it is. Waits for a GPU.

        Losses are not negative: once the sum is infinite or NaN, it stays so.
        """
        if math.isfinite(self._sum.item()):
            return 0
        on_gpu = self._sum.device.type == "cuda"
        return self._steps - int(self._sound) if on_gpu else 1

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since it started over."""
        return not self._rows

    def mean_here(self) -> float:
        """The mean on this rank."""
        return float(self._sum) / max(1, self._rows)

    def take_mean(self) -> float:
        """The mean over all ranks, which then starts over."""
        sums, rows = zip(*self.state(), strict=True)
        self._sum.zero_()
        self._sound.zero_()
        self._rows = self._steps = 0
        return math.fsum(sums) / math.fsum(rows)

    def state(self) -> list[list[float]]:
        """Sum and rows of every rank; all ranks must call it."""
        return self._ranks.gather([self._sum.item(), self._rows])

    def load_state(self, state: list[list[float]]) -> None:
        """Undo `state`; another number of ranks gets all on the first."""
        if len(state) != self._ranks.world_size:
            total = [math.fsum(column) for column in zip(*state, strict=True)]
            state = [total] + [[0.0, 0]] * (self._ranks.world_size - 1)
        loss_sum, rows = state[self._ranks.rank]
        self._sum.fill_(loss_sum)
        self._rows = int(rows)


class Clock:
    """Time spent in training steps, and in waiting for data among it."""

    def __init__(self) -> None:
        self.total_seconds = 0.0
        self._seconds = self._waited = 0.0
        self._started = self._waited_before = 0.0

    def start(self, waited: float = 0.0) -> None:
        """Go on; ``waited`` is the loader's waiting time until now."""
        self._started, self._waited_before = time.perf_counter(), waited

    def stop(self, waited: float) -> None:
        """Pause."""
        seconds = time.perf_counter() - self._started
        self.total_seconds += seconds
        self._seconds += seconds
        self._waited += waited - self._waited_before

    def take(self) -> tuple[float, float]:
        """Seconds and waiting seconds since the last call."""
        taken = self._seconds, self._waited
        self._seconds = self._waited = 0.0
        return taken
