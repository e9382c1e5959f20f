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

        An undefined figure (AUC of a set without positives or negatives) says nothing: the
        latest weights then count as best, and patience is not used up.
        """
        figure = getattr(evaluation, self.metric)
        if figure is None:
            self.best = evaluation
            return True
        before = None if self.best is None else getattr(self.best, self.metric)
        if before is None:
            better = True
        else:
            better = figure > before if _HIGHER_IS_BETTER[self.metric] else figure < before
        self.best = evaluation if better else self.best
        self.waited = 0 if better else self.waited + 1
        return better

    @property
    def step(self) -> int | None:
        """Step of the best evaluation."""
        return None if self.best is None else self.best.step

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= self.waited
