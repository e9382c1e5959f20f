"""Evaluations in the course of training: measured, written to the history, and told."""

from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import torch

from criteo_stream.base.memory import PeakMemory
from criteo_stream.base.progress import Progress
from criteo_stream.base.ranks import Ranks
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.metrics.figures import Evaluation
from criteo_stream.metrics.intercept import intercept, moved
from criteo_stream.metrics.measure import measure
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.history import HistoryLine
from criteo_stream.runs.tensorboard import Board
from criteo_stream.train.active_run import ActiveRun
from criteo_stream.train.meters import Clock

_NOTHING: Evaluation = Evaluation(
    auc=None, log_loss=None, ne=None, calibration=None, rows=0, positives=0
)


class Recorder:
    """Evaluates a run on the valid split and records what it finds.

    Args:
        training: the run.
        valid: this rank's share of the valid split; None where the split is empty.
        folder: of the run, whose history the writing rank adds to.
        ranks: all of them take part.
        peak: of this process.
        board: TensorBoard's curves, of the writing rank.
        workers: loader threads of a rank.
    """

    def __init__(
        self,
        training: ActiveRun,
        valid: CriteoDataset | None,
        folder: RunFolder,
        ranks: Ranks,
        peak: PeakMemory,
        board: Board | None = None,
        *,
        workers: int = 1,
    ) -> None:
        self.clock = Clock()
        self._training = training
        self._valid = valid
        self._folder = folder
        self._ranks = ranks
        self._peak = peak
        self._board = board
        self._workers = workers
        self._rows_at_last = training.rows

    def closing_board(self) -> AbstractContextManager[Any]:
        """A block at whose end TensorBoard's files are closed."""
        return closing(self._board) if self._board else nullcontext()

    def record(self, bar: Progress) -> bool:
        """Evaluate, and add to the history; whether it is the best so far. All ranks must call."""
        line = self._line(self._evaluated())
        best = self._training.early_stopping.update(line)
        if self._ranks.is_writer:
            self._folder.history.append(line)
            if self._board is not None:
                self._board.add(line)
            self._tell(line, bar, best=best)
        return best

    def _evaluated(self) -> Evaluation:
        """Figures on the valid split; on a thinned set, with the intercept that it asks for."""
        if self._valid is None:
            return _NOTHING
        training = self._training
        metrics = measure(
            training.model, self._valid, ranks=self._ranks, workers=self._workers, quiet=True
        )
        found = metrics.compute()
        if training.data.manifest.thinned:
            scores = metrics.scores()
            training.intercept = intercept(scores)
            found = moved(found, scores, training.intercept)
        return found

    def _line(self, found: Evaluation) -> HistoryLine:
        training, rows = self._training, self._training.rows
        seconds, waited = self.clock.take()
        trained, self._rows_at_last = rows - self._rows_at_last, rows
        return HistoryLine(
            epoch=(training.step - 1) // training.data.steps + 1,
            step=training.step,
            rows=rows,
            train_loss=training.loss.take_mean(),
            learning_rate=training.learning_rate(training.step - 1),
            auc=found.auc,
            log_loss=found.log_loss,
            ne=found.ne,
            calibration=found.calibration,
            rows_per_second=round(trained / seconds),
            waited_for_data=round(waited / seconds, 4),
            peak_memory_bytes=self.peak_bytes(),
            peak_device_memory_bytes=self.peak_device_bytes(),
        )

    def _tell(self, line: HistoryLine, bar: Progress, *, best: bool) -> None:
        valid = line.text() if self._valid is not None else "split is empty"
        bar.write(
            f"epoch {line.epoch}, step {line.step:,}: train loss {line.train_loss:.6f}, "
            f"valid {valid}, {line.rows_per_second:,} rows/s" + (" (best)" if best else "")
        )

    def peak_bytes(self) -> int:
        """The ranks' peaks added up; all ranks must call it."""
        return sum(int(peak) for (peak,) in self._ranks.gather([self._peak.peak_bytes]))

    def peak_device_bytes(self) -> int | None:
        """The same of GPU memory; None on the CPU. All ranks must call it."""
        if self._ranks.device.type != "cuda":
            return None
        mine = torch.cuda.max_memory_allocated(self._ranks.device)
        return sum(int(peak) for (peak,) in self._ranks.gather([mine]))
