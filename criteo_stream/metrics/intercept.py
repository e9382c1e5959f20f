"""One number added to every logit, so that as many clicks are predicted as came.

A model that learned from a thinned split knows which rows are likelier. How many clicks all rows
have it knows as far as it is exactly right; a split that is whole tells. The order of rows stays.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from criteo_stream.metrics.figures import Evaluation
from criteo_stream.metrics.scores import Counts, Floats, ScoreCounts

_STEPS: Final = 50
_LARGEST_STEP: Final = 1.0


def intercept(scores: ScoreCounts) -> float:
    """The number that is likeliest for these rows: with it Σ p = Σ clicks; 0 where none is."""
    rows, clicks = scores.negatives + scores.positives, int(scores.positives.sum())
    by = 0.0
    if clicks in (0, int(rows.sum())):
        return by
    for _ in range(_STEPS):  # Newton's method; a handful will do
        p = _probabilities(scores.logits + by)
        slope = float(rows @ (p * (1 - p)))
        if slope == 0:  # all logits are infinite
            return 0.0
        step = (clicks - float(rows @ p)) / slope
        by += min(max(step, -_LARGEST_STEP), _LARGEST_STEP)
        if abs(step) < 1e-9:
            break
    return by


def moved(found: Evaluation, scores: ScoreCounts, by: float) -> Evaluation:
    """The figures of the same rows with a number added to every logit.

    Differences are those of the bins' middles, so that what these are off by cancels out.
    """
    if not by or found.log_loss is None or found.calibration is None or found.ne is None:
        return found
    rows = scores.negatives + scores.positives
    before, after = scores.logits, scores.logits + by
    loss = found.log_loss + (_loss(after, scores) - _loss(before, scores)) / found.rows
    clicks = float(rows @ (_probabilities(after) - _probabilities(before)))
    return replace(
        found,
        log_loss=loss,
        ne=found.ne * loss / found.log_loss,
        calibration=found.calibration + clicks / found.positives,
    )


def _probabilities(logits: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -logits))


def _loss(logits: Floats, scores: ScoreCounts) -> float:
    return _sum(scores.negatives, logits) + _sum(scores.positives, -logits)


def _sum(counts: Counts, logits: Floats) -> float:
    """Σ −log(1 − p); an infinite logit that never was is none."""
    came = counts > 0
    return float(counts[came] @ np.logaddexp(0, logits[came]))
