"""Figures of click prediction, exact over any number of rows and ranks.

Every state adds up (int64 counts or float64 sums), so batches and ranks give the same figure as
one pass over all rows; averages of per-batch or per-rank AUCs, which are wrong, never occur.
"""

import math
from dataclasses import asdict

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from criteo_stream.base.errors import RunError
from criteo_stream.base.ranks import ALONE, Ranks
from criteo_stream.base.torchrun_place import without_odd_local_rank
from criteo_stream.metrics import auc
from criteo_stream.metrics.figures import DetailedEvaluation, Evaluation
from criteo_stream.metrics.intervals import Interval, mean_interval
from criteo_stream.metrics.score_counter import EXACT_ROWS, ScoreCounter, in_bins
from criteo_stream.metrics.scores import ScoreCounts


class BinaryMetrics:
    """All figures from one pass over the logits; one that is undefined or infinite is None.

    Args:
        ranks: those that share the rows; the state is on their device.
        exact_rows: rows, over all ranks, up to which the AUC is exact; see `ScoreCounter`.
    """

    def __init__(self, ranks: Ranks = ALONE, exact_rows: int = EXACT_ROWS) -> None:
        # torchmetrics takes as long to load as PyTorch, and training begins without it.
        with without_odd_local_rank():
            from criteo_stream.metrics.click_sums import ClickSums

        self._scores = ScoreCounter(ranks, exact_rows)
        self._sums = ClickSums(ranks)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1.

        Raises:
            RunError: a logit is not a number.
        """
        if bool(logits.isnan().any()):
            raise RunError("the model gives NaN: its weights have diverged; train a new run")
        predicted = logits.detach().double().sigmoid()
        self._sums.update(row_losses(logits, labels), predicted, labels)
        self._scores.update(logits, labels)

    def distinct_scores(self) -> ScoreCounts:
        """The rows of all ranks by their score, as exact as the AUC; every rank must call it."""
        return self._scores.scores()

    def scores(self) -> ScoreCounts:
        """The rows of all ranks in bins of their score, for curves; every rank must call it."""
        return in_bins(self.distinct_scores())

    def log_loss_interval(self) -> Interval | None:
        """95 % interval of the log loss over all ranks; every rank must call it."""
        totals = self._sums.totals()
        return mean_interval(totals.loss, totals.loss_squared, totals.rows)

    def compute(self) -> Evaluation:
        """Figures over all ranks; every rank must call it."""
        return self._figures(self.distinct_scores())

    def _figures(self, scores: ScoreCounts) -> Evaluation:
        loss, _, predicted, positives, rows = self._sums.totals()
        log_loss = loss / rows if rows else math.nan
        return Evaluation(
            auc=auc.area(scores.negatives, scores.positives),
            # Infinite: an infinite logit for the label that did not come.
            log_loss=_finite(log_loss),
            ne=_finite(log_loss / entropy) if (entropy := _entropy(positives, rows)) else None,
            calibration=_finite(predicted / positives) if positives else None,
            rows=rows,
            positives=positives,
        )

    def compute_detailed(self, scores: ScoreCounts) -> DetailedEvaluation:
        """Figures over all ranks and how far to trust them; every rank must call it.

        Args:
            scores: the same rows in bins, of `scores`.
        """
        distinct = self.distinct_scores()
        return DetailedEvaluation(
            **asdict(self._figures(distinct)),
            auc_interval=auc.area_interval(distinct.negatives, distinct.positives),
            log_loss_interval=self.log_loss_interval(),
            calibration_curve=scores.calibration_curve(),
        )


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """float64 [B]: −log p of the label that came."""
    logits = logits.detach().double()
    # One signed logit instead of BCE's two terms: right for ±inf too, where those give NaN.
    return -F.logsigmoid(torch.where(labels > 0.5, logits, -logits))


def _entropy(positives: float, rows: float) -> float:
    """Entropy of the click rate; 0 where all labels are equal, and without rows."""
    if positives in (0, rows):
        return 0.0
    rate = positives / rows
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
