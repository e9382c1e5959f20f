"""95 % intervals of a mean, a share and an AUC, from sums and counts; None where undefined.

All take the rows for independent draws, which rows of one user or one hour are only nearly.
"""

import math
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]
"""Lower and upper end."""

_Z: Final = NormalDist().inv_cdf(0.975)


def normal_interval(mean: float, variance: float) -> Interval | None:
    """Of an estimate with the variance of that estimate."""
    half = _Z * math.sqrt(variance) if variance >= 0 else math.nan
    return (mean - half, mean + half) if math.isfinite(mean + half) else None


def mean_interval(total: float, squares: float, rows: int) -> Interval | None:
    """Of a mean over rows, from Σ x and Σ x²."""
    if rows < 2:
        return None
    return normal_interval(total / rows, mean_variance(total, squares, rows))


def mean_variance(total: float, squares: float, rows: int) -> float:
    """Variance of a mean over at least two rows, from Σ x and Σ x²."""
    return max(0.0, squares - total * total / rows) / (rows - 1) / rows


def share_interval(hits: int, rows: int) -> Interval | None:
    """Of a share of rows (Wilson 1927): inside [0, 1], and right for few hits."""
    if not rows:
        return None
    share, z2 = hits / rows, _Z * _Z
    center = share + z2 / (2 * rows)
    half = _Z * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    scale = 1 + z2 / rows
    # Rounding would leave a little of the ends that are exact.
    return (
        (center - half) / scale if hits else 0.0,
        (center + half) / scale if hits < rows else 1.0,
    )


def placements(
    negatives: npt.NDArray[np.int64], positives: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Placement values of rows counted in bins [n] of ascending score, ties counting half.

    Returns:
        For a positive of each bin the share of negatives below it, for a negative the share of
        positives above it; the mean of either over its rows is the AUC.
    """
    below = np.cumsum(negatives) - negatives
    above = positives.sum() - np.cumsum(positives)
    return (
        (below + negatives / 2) / max(1, negatives.sum()),
        (above + positives / 2) / max(1, positives.sum()),
    )


def auc_interval(
    negatives: npt.NDArray[np.int64], positives: npt.NDArray[np.int64]
) -> Interval | None:
    """Of the AUC of rows counted in bins [n] of ascending score, inside [0, 1].

    DeLong et al. 1988, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", by placement values as in Sun & Xu 2014, here a value a bin instead of
    a row. An AUC of exactly 0 or 1 gets no width.
    """
    if min(negatives.sum(), positives.sum()) < 2:
        return None
    of_positives, of_negatives = placements(negatives, positives)
    auc = float(of_positives @ positives) / int(positives.sum())
    found = normal_interval(
        auc, _counted_variance(of_positives, positives) + _counted_variance(of_negatives, negatives)
    )
    return found and (max(0.0, found[0]), min(1.0, found[1]))


def _counted_variance(values: npt.NDArray[np.float64], counts: npt.NDArray[Any]) -> float:
    """Variance of the mean of values that come so many times each."""
    rows = int(counts.sum())
    mean = float(values @ counts) / rows
    return float(np.square(values - mean) @ counts) / (rows - 1) / rows
