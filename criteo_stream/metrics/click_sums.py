"""The sums behind log loss, normalized entropy and calibration, over batches and ranks."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from criteo_stream.base.ranks import ALONE, Ranks


class Totals(NamedTuple):
    """Over all rows of all ranks."""

    loss: float
    """Σ −log p of the label that came."""
    loss_squared: float
    """Σ of its square."""
    predicted: float
    """Σ p, the clicks expected."""
    positives: int
    """The clicks."""
    rows: int


class ClickSums(Metric):
    """Adds up in float64 and int64, so that any batches and any ranks give one figure.

    Its states are small on purpose: a `Metric` refers to itself, and is freed only by Python's
    rare full collections.

    Args:
        ranks: those that share the rows; the states are on their device.
    """

    full_state_update = False
    sums: Tensor
    """float64 [3]: as the first three of `Totals`."""
    counts: Tensor
    """int64 [2]: as the last two."""

    def __init__(self, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self._ranks = ranks
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")
        self.to(ranks.device)

    def update(self, losses: Tensor, predicted: Tensor, labels: Tensor) -> None:
        """Take in float64 losses [B], float64 probabilities [B] and labels [B] of 0 or 1."""
        self.sums += torch.stack([losses.sum(), losses.square().sum(), predicted.sum()])
        self.counts[0] += (labels > 0.5).sum()
        self.counts[1] += len(labels)

    def compute(self) -> Totals:
        """The totals of this state; call `totals` for those of all ranks."""
        return self._now()

    def totals(self) -> Totals:
        """The totals over all ranks; every rank must call it."""
        with self.sync_context(
            dist_sync_fn=self._gathered,
            distributed_available=lambda: self._ranks.world_size > 1,
        ):
            return self._now()

    def _now(self) -> Totals:
        return Totals(*self.sums.tolist(), *self.counts.tolist())

    def _gathered(self, mine: Tensor, group: object = None) -> list[Tensor]:
        """A state of every rank, in their order."""
        everyone = self._ranks.gather(mine.tolist())
        return [torch.tensor(values, dtype=torch.float64).to(mine) for values in everyone]
