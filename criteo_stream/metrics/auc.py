"""The AUC from counts: rows counted by score give the area under the ROC curve and its interval.

Counts of negatives and positives in bins of ascending score are all that it takes; rows of one
bin count as ties. `ScoreCounter` in `score_counter` does the counting, batch by batch.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from criteo_stream.metrics.intervals import Interval, normal_interval


def area(negatives: npt.NDArray[np.int64], positives: npt.NDArray[np.int64]) -> float | None:
    """The area under the ROC curve: the share of pairs of both kinds in the right order.

    Exact up to 2^53 pairs, and right to float64's precision beyond.

    Args:
        negatives: int64 [n], rows without a click in bins of ascending score.
        positives: int64 [n], rows with one.

    Returns:
        The area, ties counting half; None where one of the kinds is missing.
    """
    below = np.cumsum(negatives) - negatives  # [n]
    in_order = float(positives.astype(np.float64) @ (below + negatives / 2))
    pairs = float(positives.sum()) * float(negatives.sum())
    return in_order / pairs if pairs else None


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


def area_interval(
    negatives: npt.NDArray[np.int64], positives: npt.NDArray[np.int64]
) -> Interval | None:
    """Interval of the AUC of rows counted in bins [n] of ascending score, inside [0, 1].

    DeLong et al. 1988, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", from placement values as in Sun & Xu 2014, one per bin instead of one
    per row. An AUC of exactly 0 or 1 gets no width.
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
    """Variance of the mean of values, each of which occurs ``counts`` times."""
    rows = int(counts.sum())
    mean = float(values @ counts) / rows
    return float(np.square(values - mean) @ counts) / (rows - 1) / rows
