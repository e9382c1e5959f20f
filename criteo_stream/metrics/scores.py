"""The rows of a split by their score: calibration curve and histogram from counts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from criteo_stream.metrics.intervals import Interval, share_interval

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CalibrationPart:
    """Rows of like scores: what was predicted for them, and what came."""

    rows: int
    positives: int
    predicted: float
    """Mean probability."""
    click_rate: float
    click_rate_interval: Interval | None
    """95 % (Wilson 1927)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreCounts:
    """Negatives and positives by logit: exact counts, of each logit or in bins.

    Bins are so narrow that a logit is off from the middle of its bin by at most 2^-12 of itself,
    and so a probability p by |logit| · (1 − p) · 2^-12 of itself: .03 % at most where p > .2.
    """

    logits: Floats
    """[n] ascending; the middle of each bin."""
    negatives: Counts
    """[n], of each logit; nowhere are there neither negatives nor positives."""
    positives: Counts
    binned: bool = False

    @property
    def probabilities(self) -> Floats:
        """[n] of the middle of each bin."""
        return np.exp(-np.logaddexp(0, -self.logits))

    def calibration_curve(self, parts: int = 20) -> list[CalibrationPart]:
        """Clicks predicted and clicks that came, in parts of about as many rows each.

        Returns:
            The parts by ascending score; equal scores stay together, so there may be fewer.
        """
        rows = self.negatives + self.positives
        middle = np.cumsum(rows) - rows / 2
        part = (middle * parts / max(1, rows.sum())).astype(np.int64)
        expected = np.bincount(part, weights=self.probabilities * rows)
        table = []
        for number in np.unique(part):
            inside = part == number
            n, hits = int(rows[inside].sum()), int(self.positives[inside].sum())
            table.append(
                CalibrationPart(
                    rows=n,
                    positives=hits,
                    predicted=float(expected[number]) / n,
                    click_rate=hits / n,
                    click_rate_interval=share_interval(hits, n),
                )
            )
        return table

    def histogram(self, bars: int = 50, top: float = 1.0) -> tuple[Counts, Counts]:
        """Negatives and positives in equal bars of the probability up to ``top``, [bars] each.

        What is above counts in the last bar.
        """
        bar = np.minimum((self.probabilities / top * bars).astype(np.int64), bars - 1)
        negatives, positives = np.zeros((2, bars), np.int64)
        np.add.at(negatives, bar, self.negatives)
        np.add.at(positives, bar, self.positives)
        return negatives, positives
