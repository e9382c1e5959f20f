"""Options and figures of a run for MLflow; steps there are training rows."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

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

_ALWAYS: Final = "train_loss"
"""A figure that every evaluation has."""
_FILES_ALLOWED: Final = "MLFLOW_ALLOW_FILE_STORE"
"""Newer versions of MLflow refuse a store of files without this variable."""


class MlflowLogger(Callback):
    """Logs to ``MLFLOW_TRACKING_URI``, or into ``RUN/mlruns``.

    The experiment is ``MLFLOW_EXPERIMENT_NAME``, or criteo-stream. ``RUN/mlflow.json`` holds the
    id of MLflow's run: a continued run goes on with it, and no point is logged twice.

    Raises:
        UsageError: MLflow is not installed.
    """

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError:
            raise UsageError(
                "--logger mlflow needs MLflow: pip install 'criteo-stream[mlflow]'"
            ) from None
        self._mlflow = mlflow
        self._client: Any = None
        self._uri = self._run_id = ""
        self._rows = 0
        """Training rows at the last evaluation that is logged."""

    def on_start(self, start: RunStart) -> None:
        """Begin a run of MLflow's, or go on with the one that was begun."""
        folder = RunFolder(start.run)
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or folder.mlruns.resolve().as_uri()
        with self._explained():
            self._client = self._opened()
            self._run_id = self._known_run(folder.mlflow) or self._new_run(start, folder.mlflow)
            logged = self._client.get_metric_history(self._run_id, _ALWAYS)
        self._rows = max((point.step for point in logged), default=0)
        for line in start.history:  # a kill may have come between the history and MLflow
            self._log(curves(line), line.rows, once=True)

    def _opened(self) -> Any:
        before = os.environ.get(_FILES_ALLOWED)
        os.environ[_FILES_ALLOWED] = "true"  # a folder was asked for, and is read by all versions
        try:
            return self._mlflow.MlflowClient(tracking_uri=self._uri)
        finally:
            del os.environ[_FILES_ALLOWED]
            if before is not None:
                os.environ[_FILES_ALLOWED] = before

    def _known_run(self, note: Path) -> str | None:
        """The run that an earlier process began, where that was on the same server."""
        found = read_note(note)
        run_id = found.get("run_id")
        if not isinstance(run_id, str) or found.get("tracking_uri") != self._uri:
            return None
        try:
            self._client.update_run(run_id, status="RUNNING")
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # it was deleted
                return None
            raise
        return run_id

    def _new_run(self, start: RunStart, note: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "criteo-stream"
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        run = self._client.create_run(number, run_name=start.run.resolve().name)
        run_id: str = run.info.run_id
        write_json(note, {"tracking_uri": self._uri, "run_id": run_id})
        parameter = self._mlflow.entities.Param
        values = [parameter(key, str(value)) for key, value in parameters(start).items()]
        self._client.log_batch(run_id, params=values)
        return run_id

    def on_evaluation(self, evaluation: HistoryLine, *, best: bool) -> None:
        """Log the figures, unless they are logged already."""
        self._log(curves(evaluation), evaluation.rows, once=True)

    def on_test(self, split: str, evaluation: DetailedEvaluation) -> None:
        """Log the figures of the best weights on a split."""
        self._log(split_figures(split, evaluation), self._rows)

    def on_end(self, result: TrainResult) -> None:
        """Log the best figures, and end MLflow's run."""
        if result.best is not None:
            self._log(best_figures(result.best), result.rows)
        with self._explained():
            status = "FINISHED" if result.finished else "KILLED"
            self._client.set_terminated(self._run_id, status)

    def on_error(self, error: BaseException) -> None:
        """End MLflow's run as failed, if it can be reached."""
        if self._run_id:
            with suppress(RunError), self._explained():
                self._client.set_terminated(self._run_id, "FAILED")

    def _log(self, figures: Mapping[str, float], rows: int, *, once: bool = False) -> None:
        if once and rows <= self._rows:
            return
        now, metric = time.time_ns() // 10**6, self._mlflow.entities.Metric
        points = [metric(name, float(value), now, rows) for name, value in figures.items()]
        with self._explained():
            self._client.log_batch(self._run_id, metrics=points)
        self._rows = max(rows, self._rows)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(
                f"MLflow at {self._uri} cannot be written to ({first}): check "
                "MLFLOW_TRACKING_URI; the same command again continues, without --logger mlflow too"
            ) from None
