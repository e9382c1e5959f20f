"""Evaluations in the course of training: measured, written to the history, and told."""

from collections.abc import Iterable, Sequence
from typing import Final

import torch

from criteo_stream.base.memory import PeakMemory
from criteo_stream.base.progress import Progress
from criteo_stream.base.ranks import Ranks
from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.metrics.figures import Evaluation
from criteo_stream.metrics.intercept import intercept, moved
from criteo_stream.metrics.measure import EVALUATION_BATCH, first_batches, scored
from criteo_stream.metrics.streaming import BinaryMetrics
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.history import HistoryLine
from criteo_stream.train.active_run import ActiveRun
from criteo_stream.train.callbacks import Callback
from criteo_stream.train.diverged import is_worse_than_the_rate, worse_than_the_rate
from criteo_stream.train.evaluation_table import HEADING, row, whole_row
from criteo_stream.train.meters import Clock

_NOTHING: Evaluation = Evaluation(
    auc=None, log_loss=None, ne=None, calibration=None, rows=0, positives=0
)
_MOST_KEPT: Final = 1 << 20
"""Rows of the valid split that stay in memory, all ranks together: 160 bytes each."""


class Recorder:
    """Evaluates a run on the valid split and records what it finds.

    Args:
        training: the run.
        valid: this rank's share of the valid split; None where the split is empty.
        folder: of the run, whose history the writing rank adds to.
        ranks: all of them take part.
        peak: of this process.
        callbacks: told of evaluations, on the writing rank.
        workers: loader threads of a rank.
    """

    def __init__(
        self,
        training: ActiveRun,
        valid: CriteoDataset | None,
        folder: RunFolder,
        ranks: Ranks,
        peak: PeakMemory,
        callbacks: Sequence[Callback] = (),
        *,
        workers: int = 1,
    ) -> None:
        self.clock = Clock()
        self.latest: HistoryLine | None = None
        """The latest evaluation of this process."""
        self._training = training
        self._valid = valid
        self._folder = folder
        self._ranks = ranks
        self._peak = peak
        self._callbacks = callbacks
        self._workers = workers
        self._rows_at_last = training.rows
        self._batches: list[Batch] = []
        self._warned = False

    def record(self, bar: Progress, *, whole: bool) -> bool:
        """Evaluate, and add to the history; whether it is the best so far. All ranks must call.

        Args:
            bar: where the figures are told.
            whole: measure all of the valid split too.
        """
        line = self._line(*self._evaluated(whole=whole))
        best = self._training.early_stopping.update(line)
        if self._ranks.is_writer:
            self._folder.history.append(line)
            for callback in self._callbacks:
                callback.on_evaluation(line, best=best)
            self._tell(line, bar, best=best)
        self.latest = line
        return best

    def _evaluated(self, *, whole: bool) -> tuple[Evaluation, Evaluation | None]:
        """Figures on the rows of every evaluation, and if asked for on the whole valid split."""
        valid = self._valid
        if valid is None:
            return _NOTHING, None
        first = -(-self._training.config.evaluate_rows // EVALUATION_BATCH) or valid.steps
        if first >= valid.steps:
            found = self._measured(valid, valid.steps)[0]
            return found, found
        found, *rest = self._measured(valid, first, *([valid.steps] if whole else []))
        return found, rest[0] if rest else None

    def _measured(self, valid: CriteoDataset, *ends: int) -> list[Evaluation]:
        """Figures after each of some ascending numbers of batches."""
        metrics, found = BinaryMetrics(self._ranks), []
        scores = scored(
            [self._training.model],
            valid,
            self._ranks,
            workers=self._workers,
            quiet=True,
            batches=self._first(valid, ends[-1]),
        )
        for number, ((logits,), label) in enumerate(scores, start=1):
            metrics.update(logits, label)
            if number in ends:
                found.append(self._figures(metrics))
        return found

    def _first(self, valid: CriteoDataset, batches: int) -> Iterable[Batch]:
        """The first batches; in memory from their first use on, unless they are too many."""
        most = _MOST_KEPT // EVALUATION_BATCH
        number = valid.steps if valid.steps <= most else batches
        if number > most:
            pin_memory = self._ranks.device.type == "cuda"
            return first_batches(valid, batches, self._workers, pin_memory=pin_memory)
        if not self._batches:
            self._batches = list(first_batches(valid, number, self._workers))
        return self._batches[:batches]

    def _figures(self, metrics: BinaryMetrics) -> Evaluation:
        """Figures so far; on a thinned set, with the intercept that these rows ask for."""
        found = metrics.compute()
        if self._training.data.manifest.thinned:
            scores = metrics.scores()
            self._training.intercept = intercept(scores)
            found = moved(found, scores, self._training.intercept)
        return found

    def _line(self, found: Evaluation, whole: Evaluation | None) -> HistoryLine:
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
            valid_rows=found.rows,
            whole_auc=None if whole is None else whole.auc,
            whole_log_loss=None if whole is None else whole.log_loss,
            rows_per_second=round(trained / seconds),
            waited_for_data=round(waited / seconds, 4),
            peak_memory_bytes=self.peak_bytes(),
            peak_device_memory_bytes=self.peak_device_bytes(),
        )

    def _tell(self, line: HistoryLine, bar: Progress, *, best: bool) -> None:
        if self.latest is None:
            if self._valid is None:
                bar.write("the valid split is empty: the last weights are kept, without figures")
            bar.write(HEADING)
        worse = is_worse_than_the_rate(line)
        star = "best" if bar.is_ascii else "★ best"
        known_best = best and self._valid is not None
        mark = "NE > 1" if worse else star if known_best else ""
        bar.write(row(line, mark), highlight=known_best and not worse)
        if line.has_both:
            bar.write(whole_row(line))
        if worse and not self._warned:
            self._warned = True
            bar.write(f"warning: {worse_than_the_rate(line, self._training.config)}")

    def peak_bytes(self) -> int:
        """The ranks' peaks added up; all ranks must call it."""
        return sum(int(peak) for (peak,) in self._ranks.gather([self._peak.peak_bytes]))

    def peak_device_bytes(self) -> int | None:
        """The same of GPU memory; None on the CPU. All ranks must call it."""
        if self._ranks.device.type != "cuda":
            return None
        mine = torch.cuda.max_memory_allocated(self._ranks.device)
        return sum(int(peak) for (peak,) in self._ranks.gather([mine]))
