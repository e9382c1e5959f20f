"""Figures of a run for TensorBoard: a curve for each, over training rows."""

from typing import Any

from criteo_stream.base.errors import UsageError
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.history import HistoryLine
from criteo_stream.train.callbacks import Callback, RunStart
from criteo_stream.train.logged_figures import curves
from criteo_stream.train.result import TrainResult


class TensorBoardLogger(Callback):
    """Writes ``RUN/tensorboard``; a continued run hides what was written after its checkpoint.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "--logger tensorboard needs TensorBoard: pip install 'criteo-stream[tensorboard]'"
            ) from None
        self._opened_by = SummaryWriter
        self._writer: Any = None

    def on_start(self, start: RunStart) -> None:
        """Open an event file."""
        # Steps before it stay: events of later ones are of work that is done again.
        folder = RunFolder(start.run).tensorboard
        self._writer = self._opened_by(str(folder), purge_step=start.rows + 1)

    def on_evaluation(self, evaluation: HistoryLine, *, best: bool) -> None:
        """Add a point to every curve; undefined figures have none."""
        for name, value in curves(evaluation).items():
            self._writer.add_scalar(name, value, evaluation.rows)
        self._writer.flush()

    def on_end(self, result: TrainResult) -> None:
        """Close the event file."""
        self._writer.close()

    def on_error(self, error: BaseException) -> None:
        """Close the event file, where one was opened."""
        if self._writer is not None:
            self._writer.close()
