"""95 % intervals of a mean and a share, from sums and counts; None where undefined.

All of them treat rows as independent draws; rows of one user or one hour are not quite.
"""

import math
from statistics import NormalDist
from typing import Final

Interval = tuple[float, float]
"""Lower and upper end."""

_Z: Final = NormalDist().inv_cdf(0.975)


def normal_interval(mean: float, variance: float) -> Interval | None:
    """Interval of an estimate, from the variance of that estimate."""
    half = _Z * math.sqrt(variance) if variance >= 0 else math.nan
    return (mean - half, mean + half) if math.isfinite(mean + half) else None


def mean_interval(total: float, squares: float, rows: int) -> Interval | None:
    """Interval of a mean over rows, from Σ x and Σ x²."""
    if rows < 2:
        return None
    return normal_interval(total / rows, mean_variance(total, squares, rows))


def mean_variance(total: float, squares: float, rows: int) -> float:
    """Variance of a mean over at least two rows, from Σ x and Σ x²."""
    return max(0.0, squares - total * total / rows) / (rows - 1) / rows


def share_interval(hits: int, rows: int) -> Interval | None:
    """Interval of a share of rows (Wilson 1927): inside [0, 1], and right for few hits."""
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
