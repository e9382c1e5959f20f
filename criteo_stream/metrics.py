"""Figures of click prediction, exact over any number of rows and ranks.

Every state is a sum (int64 counts or float64), so ranks and batches add up to the same figure as
one pass over all rows; averages of per-batch or per-rank AUCs, which are wrong, never occur.
"""

import math
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchmetrics import Metric

from criteo_stream.errors import RunError

AUC_BINS: Final = 1 << 20
"""Bins of the logit; the AUC's error is below 1e-6 (rows in one bin count as ties)."""

_FLUSH_ROWS: Final = 1 << 20


class _SumMetric(Metric):
    """A metric whose states are sums over rows."""

    is_differentiable = False
    full_state_update = False

    def _sum_state(self, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> None:
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")


class LogLoss(_SumMetric):
    """Mean binary cross-entropy of logits, in float64."""

    higher_is_better = False
    total: Tensor
    rows: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sum_state("total")
        self._sum_state("rows", dtype=torch.int64)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1."""
        self.total += F.binary_cross_entropy_with_logits(
            logits.double(), labels.double(), reduction="sum"
        )
        self.rows += len(labels)

    def compute(self) -> Tensor:
        """The mean; NaN without rows."""
        return self.total / self.rows


class NormalizedEntropy(_SumMetric):
    """Log loss over the entropy of the click rate (He et al. 2014): below 1 beats the base rate."""

    higher_is_better = False
    total: Tensor
    rows: Tensor
    positives: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sum_state("total")
        self._sum_state("rows", dtype=torch.int64)
        self._sum_state("positives", dtype=torch.int64)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1."""
        self.total += F.binary_cross_entropy_with_logits(
            logits.double(), labels.double(), reduction="sum"
        )
        self.rows += len(labels)
        self.positives += labels.sum(dtype=torch.float64).long()

    def compute(self) -> Tensor:
        """The ratio; NaN where all labels are equal."""
        rate = self.positives.double() / self.rows
        entropy = -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))
        return torch.where(entropy > 0, self.total / self.rows / entropy, math.nan)


class Calibration(_SumMetric):
    """Sum of predicted probabilities over the number of clicks: 1 is calibrated."""

    predicted: Tensor
    positives: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sum_state("predicted")
        self._sum_state("positives", dtype=torch.int64)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1."""
        self.predicted += logits.double().sigmoid().sum()
        self.positives += labels.sum(dtype=torch.float64).long()

    def compute(self) -> Tensor:
        """The ratio; NaN without a click."""
        return torch.where(self.positives > 0, self.predicted / self.positives, math.nan)


class StreamingAUC(_SumMetric):
    """Area under the ROC curve from counts of positives and negatives in bins of the logit.

    The bins are cut by the sort key of the float32 logit (its bits, made monotone): 2^20 of them
    are 12 bits of mantissa around every magnitude. Rows in one bin count as ties. Batches are
    buffered on their device and counted a million rows at a time, so an update costs no pass
    over the bins.
    """

    higher_is_better = True
    counts: Tensor
    """int64 [2, bins]: negatives and positives."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sum_state("counts", 2, AUC_BINS, dtype=torch.int64)
        self._keys: list[Tensor] = []
        self._buffered = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1."""
        self._keys.append(_bin_of(logits.detach()) + (labels > 0.5) * AUC_BINS)
        self._buffered += len(labels)
        if self._buffered >= _FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._keys:
            keys = torch.cat(self._keys)
            self.counts += torch.bincount(keys, minlength=2 * AUC_BINS).view(2, AUC_BINS)
            self._keys, self._buffered = [], 0

    def compute(self) -> Tensor:
        """The area, float64; NaN where all labels are equal."""
        self._flush()
        negatives, positives = self.counts.double()
        below = negatives.cumsum(0) - negatives
        pairs = negatives.sum() * positives.sum()
        ranked = (positives * (below + negatives / 2)).sum()
        return torch.where(pairs > 0, ranked / pairs, math.nan)

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self._keys, self._buffered = [], 0

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Count what is buffered before the ranks' counts are summed."""
        self._flush()
        super().sync(*args, **kwargs)


def _bin_of(logits: Tensor) -> Tensor:
    """int64 [B]: the bin of each float32 logit, ascending with it; 0.0 and −0.0 share one."""
    bits = (logits.float() + 0.0).view(torch.int32).long()
    # Positive floats ascend with their bits, negative ones descend.
    key = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits) + (1 << 31)
    return key >> (32 - AUC_BINS.bit_length() + 1)


class BinaryMetrics:
    """The four figures at once, as plain numbers."""

    def __init__(self) -> None:
        self._entropy = NormalizedEntropy()
        self._metrics: dict[str, Metric] = {
            "auc": StreamingAUC(),
            "log_loss": LogLoss(),
            "ne": self._entropy,
            "calibration": Calibration(),
        }

    def to(self, device: torch.device) -> "BinaryMetrics":
        """Move the sums to a device."""
        for metric in self._metrics.values():
            metric.to(device)
        return self

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1.

        Raises:
            RunError: a logit is not a number.
        """
        if bool(logits.isnan().any()):
            raise RunError("the model gives NaN: its weights have diverged; train a new run")
        for metric in self._metrics.values():
            metric.update(logits, labels)

    def compute(self) -> dict[str, Any]:
        """Figures over all ranks; None where one is undefined (no rows, or equal labels)."""
        figures: dict[str, Any] = {}
        for name, metric in self._metrics.items():
            value = float(metric.compute())
            figures[name] = value if math.isfinite(value) else None
        with self._entropy.sync_context(should_sync=torch.distributed.is_initialized()):
            figures["rows"] = int(self._entropy.rows)
            figures["positives"] = int(self._entropy.positives)
        return figures
