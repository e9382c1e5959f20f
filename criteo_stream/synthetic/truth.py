"""How well the best possible predictor does on synthetic rows: the teacher, on its own labels."""

import numpy as np

from criteo_stream.metrics import auc
from criteo_stream.synthetic.rows import Chunk, teacher
from criteo_stream.synthetic.teacher import LOGIT_CELLS


class TruthSums:
    """Rows counted by label and logit cell.

    A row's logit is one of 2^16, so that these counts hold all there is to know: the figures are
    exact for any number of rows, in memory that does not grow.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, LOGIT_CELLS), dtype=np.int64)

    def add(self, chunk: Chunk) -> None:
        """Count a chunk's rows."""
        index = chunk.labels * LOGIT_CELLS + chunk.logit_cells.astype(np.int64)
        self._counts += np.bincount(index, minlength=2 * LOGIT_CELLS).reshape(2, LOGIT_CELLS)

    def figures(self) -> dict[str, int | float | None]:
        """Figures of the best possible predictor, to measure a model against.

        ``log_loss`` and ``auc`` (ties count one half) are those of the true probabilities on the
        labels drawn; the expected ones are over the labels that could have been drawn. Without
        rows, or without both labels, a figure is None.
        """
        negatives, positives = self._counts
        counts = negatives + positives
        rows, clicks = int(counts.sum()), int(positives.sum())
        p = teacher().probabilities
        log_loss = -(positives @ np.log(p) + negatives @ np.log1p(-p))
        entropy = -(counts @ (p * np.log(p) + (1 - p) * np.log1p(-p)))
        return {
            "rows": rows,
            "positives": clicks,
            "click_rate": _ratio(clicks, rows),
            "auc": auc.area(negatives, positives),
            "log_loss": _ratio(float(log_loss), rows),
            "expected_click_rate": _ratio(float(counts @ p), rows),
            "expected_log_loss": _ratio(float(entropy), rows),
        }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
