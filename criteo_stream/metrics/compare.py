"""Whether two models differ on the same rows, by more than chance: paired 95 % intervals."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from criteo_stream.base.ranks import Ranks
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.metrics.auc import placements
from criteo_stream.metrics.figures import Difference
from criteo_stream.metrics.intervals import mean_interval, mean_variance, normal_interval
from criteo_stream.metrics.measure import scored
from criteo_stream.metrics.streaming import (
    AUC_BINS,
    BinaryMetrics,
    SumMetric,
    logit_bins,
    row_losses,
)


class PairedDifference(SumMetric):
    """Differences of AUC and log loss between two models, the first less the second.

    The AUC is the mean placement of positives among negatives; its variance, that of DeLong et al.
    1988 for two correlated curves, needs both models' placements of the same row. They follow from
    all rows' scores, so the rows come a second time: sums of bounded size, exact over ranks.

    Args:
        bins: int64 [2, 2, bins] of each model: negatives and positives of all ranks in each bin.
    """

    placement: Tensor
    """[2 models, 2 · bins]: of a negative in each bin, then of a positive."""
    sums: Tensor
    """float64 [3, 2]: Σ d and Σ d² of the placements of negatives and positives, and of losses."""
    rows: Tensor
    """int64 [2]: negatives and positives."""

    def __init__(self, bins: Tensor, **options: Any) -> None:
        super().__init__(**options)
        placed = [placements(*counts.cpu().numpy()) for counts in bins]
        tables = [
            torch.cat([torch.from_numpy(of_negatives), torch.from_numpy(of_positives)])
            for of_positives, of_negatives in placed
        ]
        self.register_buffer("placement", torch.stack(tables), persistent=False)
        self.add_sum("sums", 3, 2, dtype=torch.float64)
        self.add_sum("rows", 2, dtype=torch.int64)

    def update(self, logits: Sequence[Tensor], labels: Tensor) -> None:
        """Take in both models' float32 logits [B] of the same rows, and labels [B] of 0 or 1."""
        clicked = (labels > 0.5).long()
        first, second = (
            table[logit_bins(x) + clicked * AUC_BINS]
            for table, x in zip(self.placement, logits, strict=True)
        )
        d = first - second
        self.sums.index_add_(0, clicked, torch.stack([d, d.square()], 1))
        d = row_losses(logits[0], labels) - row_losses(logits[1], labels)
        self.sums[2] += torch.stack([d.sum(), d.square().sum()])
        self.rows.index_add_(0, clicked, torch.ones_like(clicked))

    def compute(self) -> tuple[Tensor, Tensor]:
        """The sums over all ranks: float64 [3, 2], and rows int64 [2]."""
        return self.sums, self.rows

    def difference(self) -> Difference:
        """The first model's figures less the second's, over all ranks; every rank must call it."""
        sums, rows = self.compute()
        counts = [*rows.tolist(), int(rows.sum())]
        negative, positive, loss = zip(*sums.T.tolist(), counts, strict=True)
        auc = positive[0] / counts[1] if min(counts) else None
        auc_interval = None
        if auc is not None and min(counts) > 1:
            variance = mean_variance(*negative) + mean_variance(*positive)
            auc_interval = normal_interval(auc, variance)
        interval = mean_interval(*loss)
        return Difference(
            auc=auc,
            auc_interval=auc_interval,
            log_loss=loss[0] / counts[2] if interval else None,
            log_loss_interval=interval,
        )


def compare(
    models: Sequence[nn.Module],
    dataset: CriteoDataset,
    ranks: Ranks,
    *,
    workers: int = 1,
    quiet: bool = False,
) -> tuple[list[BinaryMetrics], Difference]:
    """Score this rank's share of a split with two models, in two passes over the rows.

    Returns:
        Each model's metrics, and the first model's figures less the second's, over all ranks.
    """
    metrics = [BinaryMetrics().to(ranks.device) for _ in models]
    for logits, label in scored(models, dataset, ranks, workers=workers, quiet=quiet):
        for model_metrics, x in zip(metrics, logits, strict=True):
            model_metrics.update(x, label)
    bins = torch.stack([model_metrics.bin_counts() for model_metrics in metrics])
    paired = PairedDifference(bins).to(ranks.device)
    for logits, label in scored(models, dataset, ranks, workers=workers, quiet=quiet):
        paired.update(logits, label)
    return metrics, paired.difference()
