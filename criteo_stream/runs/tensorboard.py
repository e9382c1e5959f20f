"""Figures of a run for TensorBoard: a curve for each, over training rows."""

from pathlib import Path
from typing import Final

from criteo_stream.base.errors import UsageError
from criteo_stream.runs.history import HistoryLine

_NOT_CURVES: Final = ("epoch", "step", "rows")


class Board:
    """Event files of a run; a continued run hides what was written after its checkpoint.

    Args:
        folder: where the event files are.
        rows: training rows at the checkpoint that the run continues from, 0 for none.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "--tensorboard needs TensorBoard: pip install 'criteo-stream[tensorboard]'"
            ) from None
        # Steps before it stay: events of later ones are of work that is done again.
        self._writer = SummaryWriter(str(folder), purge_step=rows + 1)

    def add(self, evaluation: HistoryLine) -> None:
        """Add the figures of a line of the history; undefined ones have no point."""
        for name, value in evaluation.to_dict().items():
            if name not in _NOT_CURVES and value is not None:
                self._writer.add_scalar(name, value, evaluation.rows)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
