"""The rows of a split from the highest score down: ROC, precision and recall, gains and lift."""

from dataclasses import dataclass

import numpy as np

from criteo_stream.metrics.scores import Counts, Floats, ScoreCounts


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """What one finds who takes rows by falling score, from none to all: points [n], each exact."""

    probability: Floats
    """Predicted for the last row taken; 1 before the first."""
    negatives: Counts
    """Rows without a click among those taken."""
    positives: Counts
    """Rows with one."""

    @property
    def rows(self) -> Counts:
        """Rows taken."""
        return self.negatives + self.positives

    @property
    def false_positive_rate(self) -> Floats:
        """Share of all rows without a click that are taken."""
        return _share(self.negatives, self.negatives[-1])

    @property
    def recall(self) -> Floats:
        """Share of all clicks that are taken: the true positive rate, or cumulative gain."""
        return _share(self.positives, self.positives[-1])

    @property
    def share(self) -> Floats:
        """Share of all rows that are taken."""
        return _share(self.rows, self.rows[-1])

    @property
    def precision(self) -> Floats:
        """Click rate of the rows taken; before the first that of the first."""
        found = _share(self.positives, np.maximum(1, self.rows))
        found[:1] = found[1:2] if len(found) > 1 else 0
        return found

    @property
    def lift(self) -> Floats:
        """Click rate of the rows taken over that of all."""
        return self.precision / max(float(self.precision[-1]), np.finfo(float).tiny)

    @property
    def best_youden(self) -> int:
        """The point farthest above chance: recall less false positive rate (Youden 1950)."""
        return int(np.argmax(self.recall - self.false_positive_rate))

    @property
    def best_f1(self) -> int:
        """The point with the highest harmonic mean of precision and recall."""
        return int(np.argmax(_share(2 * self.positives, self.rows + self.positives[-1])))


def ranked(scores: ScoreCounts, points: int = 500) -> Ranked:
    """Points from no row to all rows: about so many, evenly along the ROC curve, and the best."""
    negatives, positives = (
        np.concatenate([[0], np.cumsum(counts[::-1])])
        for counts in (scores.negatives, scores.positives)
    )
    probability = np.concatenate([[1.0], scores.probabilities[::-1]])
    every = Ranked(probability=probability, negatives=negatives, positives=positives)
    way = every.false_positive_rate + every.recall
    places = np.searchsorted(way, np.linspace(0, way[-1], points))
    kept = np.unique([0, *places, every.best_youden, every.best_f1, len(way) - 1])
    return Ranked(
        probability=probability[kept], negatives=negatives[kept], positives=positives[kept]
    )


def _share(part: Counts, whole: Counts | np.int64) -> Floats:
    return part / np.maximum(1, whole)
