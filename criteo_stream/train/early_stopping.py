"""The best evaluation so far, and whether patience with later ones has run out."""

from dataclasses import dataclass
from typing import Final

from criteo_stream.runs.config import Metric
from criteo_stream.runs.history import HistoryLine

_HIGHER_IS_BETTER: Final[dict[Metric, bool]] = {"auc": True, "log_loss": False}


@dataclass
class EarlyStopping:
    """Which evaluation is the best, and how many came since."""

    metric: Metric
    patience: int = 0
    """Evaluations without a better one before stopping; 0 never stops."""
    best: HistoryLine | None = None
    waited: int = 0
    """Evaluations since the best."""

    def update(self, evaluation: HistoryLine) -> bool:
        """Take an evaluation in; whether it is the best so far.

        An undefined figure (AUC of a set of one label, an infinite log loss) beats no figure.
        While all are undefined, the latest weights count as best and no patience is used up.
        """
        figure, before = self._figure(evaluation), self._figure(self.best)
        if figure is None or before is None:
            better = before is None
        else:
            better = figure > before if _HIGHER_IS_BETTER[self.metric] else figure < before
        self.best = evaluation if better else self.best
        self.waited = 0 if better else self.waited + 1
        return better

    def _figure(self, evaluation: HistoryLine | None) -> float | None:
        figure: float | None = None if evaluation is None else getattr(evaluation, self.metric)
        return figure

    @property
    def step(self) -> int | None:
        """Step of the best evaluation."""
        return None if self.best is None else self.best.step

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= self.waited
