"""What a run tells others while it goes on: `Callback` is the base of loggers and of your own."""

from dataclasses import dataclass
from pathlib import Path

from criteo_stream.metrics.figures import DetailedEvaluation
from criteo_stream.runs.config import ResolvedConfig
from criteo_stream.runs.history import HistoryLine
from criteo_stream.train.result import TrainResult


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A run as it begins, or goes on from a checkpoint."""

    run: Path
    """Its folder."""
    data: Path
    """Folder of the data set."""
    data_fingerprint: str
    """Fingerprint of the data set's content."""
    config: ResolvedConfig
    """Its options, with nothing left open."""
    rows: int
    """Training rows that it has seen; 0 for a new run."""
    history: list[HistoryLine]
    """Its evaluations up to there; empty for a new run."""


class Callback:
    """Hears of a run; override what you need, the rest does nothing.

    On several ranks only the writing one calls. What a callback raises ends the run, and is not
    hidden: the same command continues from the last checkpoint. Work after that checkpoint is done
    again, so an evaluation may be heard of twice, with the same figures.
    """

    def on_start(self, start: RunStart) -> None:
        """The run begins, or goes on."""

    def on_evaluation(self, evaluation: HistoryLine, *, best: bool) -> None:
        """The run was evaluated; the line is in its history.

        Args:
            evaluation: the figures.
            best: whether they are the best so far.
        """

    def on_checkpoint(self, folder: Path, step: int) -> None:
        """A checkpoint is saved, whole and synced.

        Args:
            folder: where it is.
            step: training steps done.
        """

    def on_test(self, split: str, evaluation: DetailedEvaluation) -> None:
        """`Trainer.evaluate` measured the best weights.

        Args:
            split: of the data set.
            evaluation: the figures.
        """

    def on_end(self, result: TrainResult) -> None:
        """`Trainer.fit` ends: the run is finished, or a signal stopped it (``result.finished``)."""

    def on_error(self, error: BaseException) -> None:
        """`Trainer.fit` ends by an error, which is raised after this.

        What is raised here does not hide it: it is a note of that error.
        """
