"""Whether two models differ on the same rows, by more than chance: paired 95 % intervals."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from criteo_stream.base.ranks import ALONE, Ranks
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.metrics.auc import placements
from criteo_stream.metrics.figures import Difference
from criteo_stream.metrics.intervals import mean_interval, mean_variance, normal_interval
from criteo_stream.metrics.measure import scored
from criteo_stream.metrics.score_counter import nearest_scores
from criteo_stream.metrics.scores import ScoreCounts
from criteo_stream.metrics.streaming import BinaryMetrics, row_losses


class PairedDifference:
    """Differences of AUC and log loss between two models, the first less the second.

    The AUC is the mean placement of positives among negatives; its variance, that of DeLong et al.
    1988 for two correlated curves, needs both models' placements of the same row. They follow from
    all rows' scores, so the rows come a second time: sums of bounded size, exact over ranks.

    Args:
        scores: of each model, the rows of all ranks.
        ranks: those that share the rows.
    """

    def __init__(self, scores: Sequence[ScoreCounts], ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        self._scores = scores
        self._placements = [
            tuple(
                torch.from_numpy(values).to(ranks.device)
                for values in reversed(placements(model.negatives, model.positives))
            )
            for model in scores
        ]
        """Of each model: of a negative, and of a positive, by score."""
        self._sums = torch.zeros(3, 2, dtype=torch.float64, device=ranks.device)
        """Σ d and Σ d² of the placements of negatives and positives, and of losses."""
        self._rows = torch.zeros(2, dtype=torch.int64, device=ranks.device)
        """Negatives and positives."""

    def update(self, logits: Sequence[Tensor], labels: Tensor) -> None:
        """Take in both models' float32 logits [B] of the same rows, and labels [B] of 0 or 1."""
        clicked = labels > 0.5
        first, second = (
            torch.where(clicked, of_positive[place], of_negative[place])
            for (of_negative, of_positive), place in zip(
                self._placements, map(nearest_scores, logits, self._scores), strict=True
            )
        )
        d = first - second
        self._sums.index_add_(0, clicked.long(), torch.stack([d, d.square()], 1))
        d = row_losses(logits[0], labels) - row_losses(logits[1], labels)
        self._sums[2] += torch.stack([d.sum(), d.square().sum()])
        self._rows.index_add_(0, clicked.long(), torch.ones_like(clicked, dtype=torch.int64))

    def difference(self) -> Difference:
        """The first model's figures less the second's, over all ranks; every rank must call it."""
        mine = [*self._sums.flatten().tolist(), *self._rows.tolist()]
        *sums, negatives, positives = map(sum, zip(*self._ranks.gather(mine), strict=True))
        counts = [int(negatives), int(positives), int(negatives + positives)]
        negative, positive, loss = zip(sums[::2], sums[1::2], counts, strict=True)
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
    *datasets: CriteoDataset,
    ranks: Ranks,
    workers: int = 1,
    quiet: bool = False,
) -> tuple[list[BinaryMetrics], Difference]:
    """Score this rank's share of some splits with two models, in two passes over the rows.

    Returns:
        Each model's metrics, and the first model's figures less the second's, over all ranks.
    """
    metrics = [BinaryMetrics(ranks) for _ in models]
    for dataset in datasets:
        for logits, label in scored(models, dataset, ranks, workers=workers, quiet=quiet):
            for model_metrics, x in zip(metrics, logits, strict=True):
                model_metrics.update(x, label)
    paired = PairedDifference([model_metrics.distinct_scores() for model_metrics in metrics], ranks)
    for dataset in datasets:
        for logits, label in scored(models, dataset, ranks, workers=workers, quiet=quiet):
            paired.update(logits, label)
    return metrics, paired.difference()
