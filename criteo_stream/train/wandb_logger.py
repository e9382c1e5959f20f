"""Options and figures of a run for Weights & Biases; steps there are training rows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from criteo_stream.base.errors import RunError, UsageError
from criteo_stream.base.storage import write_json
from criteo_stream.metrics.figures import DetailedEvaluation
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.history import HistoryLine
from criteo_stream.train.callbacks import Callback, RunStart
from criteo_stream.train.logged_figures import (
    best_figures,
    curves,
    parameters,
    read_note,
    split_figures,
)
from criteo_stream.train.result import TrainResult


class WandbLogger(Callback):
    """Logs to the project ``WANDB_PROJECT``, or criteo-stream; local files go to ``RUN/wandb``.

    ``RUN/wandb.json`` holds the run's id there and how far it is logged: a continued run goes on
    with it, and no point is logged twice.

    Args:
        quiet: print nothing.

    Raises:
        UsageError: wandb is not installed.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        try:
            import wandb
        except ImportError:
            raise UsageError(
                "--logger wandb needs Weights & Biases: pip install 'criteo-stream[wandb]'"
            ) from None
        self._wandb = wandb
        self._quiet = quiet
        self._run: Any = None
        self._init: dict[str, Any] = {}
        self._note = Path()
        self._rows = 0
        """Training rows at the last evaluation that is logged."""

    def on_start(self, start: RunStart) -> None:
        """Begin a run there, or go on with the one that was begun."""
        self._note = RunFolder(start.run).wandb
        known = read_note(self._note)
        run_id, rows = known.get("id"), known.get("rows")
        self._init = {
            "project": os.environ.get("WANDB_PROJECT") or "criteo-stream",
            "name": start.run.resolve().name,
            "id": run_id if isinstance(run_id, str) else uuid4().hex[:8],
            "resume": "allow",
            "dir": str(start.run),
            "config": parameters(start),
            "settings": self._wandb.Settings(silent=self._quiet, console="off"),
        }
        self._run = self._begun()
        self._rows = rows if isinstance(rows, int) else 0
        write_json(self._note, {"id": self._run.id, "rows": self._rows})
        for line in start.history:  # a kill may have come between the history and the log
            self._log(line)

    def _begun(self) -> Any:
        with self._explained():
            return self._wandb.init(**self._init)

    def on_evaluation(self, evaluation: HistoryLine, *, best: bool) -> None:
        """Log the figures, unless they are logged already."""
        self._log(evaluation)

    def on_test(self, split: str, evaluation: DetailedEvaluation) -> None:
        """Put the figures of the best weights into the summary; the run there has ended."""
        run = self._begun()
        with self._explained():
            run.summary.update(split_figures(split, evaluation))
            run.finish(exit_code=0)

    def on_end(self, result: TrainResult) -> None:
        """Put the best figures into the summary, and end the run there."""
        with self._explained():
            if result.best is not None:
                self._run.summary.update(best_figures(result.best))
            self._run.finish(exit_code=0)

    def on_error(self, error: BaseException) -> None:
        """End the run there as failed."""
        if self._run is not None:
            with suppress(self._wandb.errors.Error):
                self._run.finish(exit_code=1)

    def _log(self, line: HistoryLine) -> None:
        if line.rows > self._rows:
            with self._explained():
                self._run.log(curves(line), step=line.rows)
            self._rows = line.rows
            write_json(self._note, {"id": self._run.id, "rows": self._rows})

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._wandb.errors.Error as error:
            raise RunError(
                f"Weights & Biases cannot be reached ({error}): run wandb login, or set "
                "WANDB_MODE=offline to keep the figures here; the same command again continues, "
                "without --logger wandb too"
            ) from None
