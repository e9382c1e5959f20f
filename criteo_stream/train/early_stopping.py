"""The best evaluation so far, and whether patience with later ones has run out."""

from dataclasses import dataclass
from typing import Any

from criteo_stream.runs.config import MONITORS


@dataclass
class BestFigure:
    """The best figure so far, and how many evaluations ago it was."""

    monitor: str
    patience: int
    """Evaluations without a better one before stopping; 0 never stops."""
    best: dict[str, Any] | None = None
    """The evaluation with the best figure."""
    waited: int = 0

    def update(self, evaluation: dict[str, Any]) -> bool:
        """Take an evaluation in; whether it is the best so far.

        An undefined figure (AUC of a set without positives or negatives) says nothing: the
        latest weights then count as best, and patience is not used up.
        """
        figure = evaluation[self.monitor]
        if figure is None:
            self.best = evaluation
            return True
        if self.best is None or self.best[self.monitor] is None:
            better = True
        elif MONITORS[self.monitor] == "max":
            better = figure > self.best[self.monitor]
        else:
            better = figure < self.best[self.monitor]
        self.best = evaluation if better else self.best
        self.waited = 0 if better else self.waited + 1
        return better

    @property
    def step(self) -> int | None:
        """Step of the best evaluation."""
        return None if self.best is None else int(self.best["step"])

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= self.waited

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self.best, self.waited = state["best"], state["waited"]
