"""Figures of click prediction, exact over any number of rows and ranks.

Every state is a sum (int64 counts or float64), so batches and ranks add up to the same figure as
one pass over all rows; averages of per-batch or per-rank AUCs, which are wrong, never occur.

A figure that is undefined (no rows, or all labels equal where both are needed) is NaN as a tensor
and None in `BinaryMetrics`, which has all figures for one pass over the logits.
"""

import math
from dataclasses import asdict
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchmetrics import Metric

from criteo_stream.base.errors import RunError
from criteo_stream.metrics import auc
from criteo_stream.metrics.figures import DetailedEvaluation, Evaluation
from criteo_stream.metrics.intervals import Interval, mean_interval
from criteo_stream.metrics.scores import ScoreCounts

AUC_BINS: Final = 1 << 20
"""Bins of the logit; rows in one bin count as ties, which puts the AUC off by less than 1e-6."""


class SumMetric(Metric):
    """A metric whose states are sums over rows, and part of a `state_dict`."""

    is_differentiable = False
    full_state_update = False

    def add_sum(self, name: str, *shape: int, dtype: torch.dtype) -> None:
        """Add a state of zeros."""
        zeros = torch.zeros(shape, dtype=dtype)
        self.add_state(name, zeros, dist_reduce_fx="sum", persistent=True)


class _LossSums(SumMetric):
    """The sums behind every figure but the AUC."""

    loss: Tensor
    """float64: Σ −log p of the label that came."""
    loss_squared: Tensor
    """float64: Σ of its square."""
    predicted: Tensor
    """float64: Σ p, the clicks expected."""
    positives: Tensor
    """int64: the clicks."""
    rows: Tensor
    """int64."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_sum("loss", dtype=torch.float64)
        self.add_sum("loss_squared", dtype=torch.float64)
        self.add_sum("predicted", dtype=torch.float64)
        self.add_sum("positives", dtype=torch.int64)
        self.add_sum("rows", dtype=torch.int64)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1."""
        losses = row_losses(logits, labels)
        self.loss += losses.sum()
        self.loss_squared += losses.square().sum()
        self.predicted += logits.detach().double().sigmoid().sum()
        self.positives += (labels > 0.5).sum()
        self.rows += len(labels)

    def mean_loss(self) -> Tensor:
        """Log loss; NaN without rows."""
        return self.loss / self.rows

    def normalized_entropy(self) -> Tensor:
        """Log loss over the entropy of the click rate; NaN where all labels are equal."""
        rate = self.positives.double() / self.rows
        entropy = -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))
        return torch.where(entropy > 0, self.mean_loss() / entropy, math.nan)

    def calibration(self) -> Tensor:
        """Clicks expected over clicks; NaN without a click."""
        return torch.where(self.positives > 0, self.predicted / self.positives, math.nan)


class LogLoss(_LossSums):
    """Mean binary cross-entropy of logits, in float64; NaN without rows."""

    higher_is_better = False

    def compute(self) -> Tensor:
        """The mean, float64."""
        return self.mean_loss()


class NormalizedEntropy(_LossSums):
    """Log loss over the entropy of the click rate, so that the base rate alone scores 1.

    He et al. 2014, "Practical lessons from predicting clicks on ads at Facebook", section 3.
    NaN where all labels are equal.
    """

    higher_is_better = False

    def compute(self) -> Tensor:
        """The ratio, float64."""
        return self.normalized_entropy()


class Calibration(_LossSums):
    """Mean predicted probability over mean label: 1 is calibrated; NaN without a click."""

    def compute(self) -> Tensor:
        """The ratio, float64."""
        return self.calibration()


class StreamingAUC(SumMetric):
    """Area under the ROC curve from counts of positives and negatives in bins of the logit.

    The bins are cut by the sort key of the float32 logit (its bits, made monotone): 2^20 of them
    leave 11 bits of mantissa at every magnitude. An update touches only the bins it counts in.
    NaN where all labels are equal.
    """

    higher_is_better = True
    counts: Tensor
    """int64 [2 · bins]: negatives, then positives. Integer sums: exact, in any order."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_sum("counts", 2 * AUC_BINS, dtype=torch.int64)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1."""
        places = logit_bins(logits.detach()) + (labels > 0.5) * AUC_BINS
        self.counts.index_add_(0, places, torch.ones_like(places))

    def area(self) -> Tensor:
        """The area, float64; NaN where all labels are equal."""
        negatives, positives = self.counts.view(2, AUC_BINS).cpu().numpy()
        found = auc.area(negatives, positives)
        value = math.nan if found is None else found
        return torch.tensor(value, dtype=torch.float64, device=self.counts.device)

    def compute(self) -> Tensor:
        """The area, float64."""
        return self.area()


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """float64 [B]: −log p of the label that came."""
    logits = logits.detach().double()
    # One signed logit instead of BCE's two terms: right for ±inf too, where those give NaN.
    return -F.logsigmoid(torch.where(labels > 0.5, logits, -logits))


def logit_bins(logits: Tensor) -> Tensor:
    """int64 [B]: the bin of each logit, ascending with it; 0.0 and −0.0 share one."""
    bits = logits.float().view(torch.int32).long()
    # Positive floats ascend with their bits, negative ones descend; both zeros become 0.
    key = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits) + (1 << 31)
    return key >> 12  # 32 bits to the 20 of AUC_BINS


def bin_logits(bins: Tensor) -> Tensor:
    """float32 [n]: the logit in the middle of each bin; inf for the bin of inf alone."""
    key = (bins << 12) + (1 << 11) - (1 << 31)
    magnitude = key.abs().clamp(max=0x7F800000).int().view(torch.float32)
    return torch.where(key < 0, -magnitude, magnitude)


class BinaryMetrics(nn.Module):
    """All figures from one pass; a module, so that `to` and `state_dict` work as usual."""

    def __init__(self) -> None:
        super().__init__()
        self._sums = LogLoss()
        self._auc = StreamingAUC()

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1.

        Raises:
            RunError: a logit is not a number.
        """
        if bool(logits.isnan().any()):
            raise RunError("the model gives NaN: its weights have diverged; train a new run")
        self._sums.update(logits, labels)
        self._auc.update(logits, labels)

    def merge(self, other: Self) -> None:
        """Take in the rows that ``other`` has seen."""
        for mine, others in ((self._sums, other._sums), (self._auc, other._auc)):
            for name in mine.metric_state:
                getattr(mine, name).add_(getattr(others, name))

    def scores(self) -> ScoreCounts:
        """The rows of all ranks by their score; every rank must call it."""
        negatives, positives = self.bin_counts().cpu()
        bins = (negatives + positives).nonzero().squeeze(1)
        return ScoreCounts(
            logits=bin_logits(bins).double().numpy(),
            negatives=negatives[bins].numpy(),
            positives=positives[bins].numpy(),
        )

    def bin_counts(self) -> Tensor:
        """int64 [2, bins]: negatives and positives of all ranks; every rank must call it."""
        with self._auc.sync_context():
            return self._auc.counts.view(2, AUC_BINS).clone()

    def log_loss_interval(self) -> Interval | None:
        """95 % interval of the log loss over all ranks; every rank must call it."""
        with self._sums.sync_context():
            sums = self._sums
            return mean_interval(float(sums.loss), float(sums.loss_squared), int(sums.rows))

    def compute(self) -> Evaluation:
        """Figures over all ranks; every rank must call it."""
        with self._sums.sync_context(), self._auc.sync_context():
            figures = {
                "auc": self._auc.area(),
                "log_loss": self._sums.mean_loss(),
                "ne": self._sums.normalized_entropy(),
                "calibration": self._sums.calibration(),
            }
            rows, positives = int(self._sums.rows), int(self._sums.positives)
        # Infinite: an infinite logit for the label that did not come.
        numbers = {name: float(figure) for name, figure in figures.items()}
        finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        return Evaluation(**finite, rows=rows, positives=positives)

    def compute_detailed(self, scores: ScoreCounts) -> DetailedEvaluation:
        """Figures over all ranks and how far to trust them; every rank must call it.

        Args:
            scores: the same rows by score, of `scores`.
        """
        return DetailedEvaluation(
            **asdict(self.compute()),
            auc_interval=auc.area_interval(scores.negatives, scores.positives),
            log_loss_interval=self.log_loss_interval(),
            calibration_curve=scores.calibration_curve(),
        )
