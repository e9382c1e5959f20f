"""Callbacks hear of a run; loggers are callbacks, and a killed run's points come once."""

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import wandb

from criteo_stream import Callback, HistoryLine, RunStart, TrainResult
from criteo_stream.base.errors import RunError, UsageError
from criteo_stream.metrics.figures import DetailedEvaluation
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.execution import Execution
from criteo_stream.train.mlflow_logger import MlflowLogger
from tests.support.training import Crash, figures, fit, trainer

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


class Listener(Callback):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_start(self, start: RunStart) -> None:
        self.heard.append(("start", start.rows, len(start.history)))

    def on_evaluation(self, evaluation: HistoryLine, *, best: bool) -> None:
        self.heard.append(("evaluation", evaluation.step, best))

    def on_checkpoint(self, folder: Path, step: int) -> None:
        assert (folder / "state.json").exists()
        self.heard.append(("checkpoint", step))

    def on_test(self, split: str, evaluation: DetailedEvaluation) -> None:
        self.heard.append((split, evaluation.rows))

    def on_end(self, result: TrainResult) -> None:
        self.heard.append(("end", result.finished))

    def on_error(self, error: BaseException) -> None:
        self.heard.append(("error", type(error)))


def test_they_hear_in_order(data: Path, tmp_path: Path) -> None:
    listener = Listener()
    made = trainer(data, tmp_path / "run", callbacks=[listener, Callback()], checkpoint_every=400)
    made.fit()
    made.evaluate("test")
    best = made.history["auc"][0] is not None
    assert listener.heard == [
        ("start", 0, 0), ("checkpoint", 13), ("evaluation", 23, best), ("checkpoint", 23),
        ("end", True), ("test", 120),
    ]  # fmt: skip
    again = Listener()
    trainer(data, tmp_path / "run", callbacks=[again]).fit()
    assert again.heard == [("start", 710, 1), ("end", True)]


def test_what_they_raise_is_raised_and_told(data: Path, tmp_path: Path) -> None:
    class Broken(Listener):
        def on_evaluation(self, evaluation: HistoryLine, *, best: bool) -> None:
            raise ZeroDivisionError("mine")

    broken, other = Broken(), Listener()
    with pytest.raises(ZeroDivisionError, match="mine"):
        trainer(data, tmp_path / "run", callbacks=[broken, other]).fit()
    assert other.heard[-1] == ("error", ZeroDivisionError)
    assert fit(data, tmp_path / "run").finished, "the run goes on without it"


def test_what_they_raise_when_told_of_an_error_hides_nothing(data: Path, tmp_path: Path) -> None:
    class Broken(Listener):
        def on_evaluation(self, evaluation: HistoryLine, *, best: bool) -> None:
            raise ZeroDivisionError("mine")

        def on_error(self, error: BaseException) -> None:
            raise OSError("no connection")

    other = Listener()
    with pytest.raises(ZeroDivisionError, match="mine") as raised:
        trainer(data, tmp_path / "run", callbacks=[Broken(), other]).fit()
    assert other.heard[-1] == ("error", ZeroDivisionError)
    assert "no connection" in raised.value.__notes__[0]


def test_what_is_no_callback_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"criteo_stream\.Callback"):
        trainer(data, tmp_path / "run", callbacks=[print])


def test_loggers_are_known_and_asked_for_once() -> None:
    with pytest.raises(UsageError, match=r"--logger mflow is not known \(did you mean mlflow\?\)"):
        Execution(logger=("mflow",))
    assert Execution(logger=("wandb", "mlflow", "wandb")).loggers == ["mlflow", "wandb"]
    assert Execution(logger=("tensorboard",), tensorboard=True).loggers == ["tensorboard"]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_extra_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = builtins.__import__

    def missing(module: str, *args: Any, **kwargs: Any) -> Any:
        if module == name:
            raise ImportError(module)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=rf"pip install 'criteo-stream\[{name}\]'"):
        fit(data, tmp_path, logger=[name])


def client(run: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[mlflow.MlflowClient, str]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    note = json.loads((run / "mlflow.json").read_text())
    return mlflow.MlflowClient(tracking_uri=note["tracking_uri"]), note["run_id"]


def test_mlflow_has_options_curves_and_final_figures(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = trainer(data, tmp_path / "run", epochs=2, logger=["mlflow"])
    made.fit()
    found = made.evaluate("test")
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
    server, run_id = client(tmp_path / "run", monkeypatch)
    run = server.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["embedding_dim"] == "4"
    assert run.data.params["data"] == str(data)
    points = [(p.step, p.value) for p in server.get_metric_history(run_id, "log_loss")]
    assert points == [(line["rows"], line["log_loss"]) for line in figures(tmp_path / "run")]
    assert run.data.metrics["test_log_loss"] == found.log_loss
    assert "best_auc" in run.data.metrics


def crash_at_save(patch: pytest.MonkeyPatch, number: int) -> None:
    save, calls = CheckpointFolder.save, []

    def crashing(self: CheckpointFolder, *args: Any, **kwargs: Any) -> Path:
        calls.append(1)
        if len(calls) == number:
            raise Crash
        return save(self, *args, **kwargs)

    patch.setattr(CheckpointFolder, "save", crashing)


def test_a_killed_run_goes_on_in_mlflow_without_a_point_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "server").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "clicks")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        crash_at_save(patch, 2)
        with pytest.raises(Crash):
            fit(data, run, epochs=3, logger=["mlflow"])
    server, run_id = client(run, monkeypatch)
    assert server.get_run(run_id).info.status == "FAILED"
    with monkeypatch.context() as patch:  # this evaluation is in the history, not in MLflow
        patch.setattr(MlflowLogger, "on_evaluation", Callback.on_evaluation)
        crash_at_save(patch, 2)
        with pytest.raises(Crash):
            fit(data, run, epochs=3, logger=["mlflow"])
    fit(data, run, epochs=3, logger=["mlflow"])
    assert client(run, monkeypatch)[1] == run_id
    points = [(p.step, p.value) for p in server.get_metric_history(run_id, "train_loss")]
    assert points == [(line["rows"], line["train_loss"]) for line in figures(run)]
    assert len(points) == 3
    assert server.get_run(run_id).info.status == "FINISHED"
    assert server.get_experiment_by_name("clicks") is not None


def test_an_mlflow_that_is_not_there_is_one_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://server")
    with pytest.raises(RunError, match="MLflow at nonsense://server cannot be written to"):
        fit(data, tmp_path / "run", logger=["mlflow"])


def test_a_damaged_note_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    fit(data, tmp_path / "run", logger=["mlflow"])
    (tmp_path / "run" / "mlflow.json").write_text("{")
    with pytest.raises(RunError, match=r"mlflow.json cannot be read .*: remove it"):
        fit(data, tmp_path / "run", logger=["mlflow"])


_TWICE = """
import sys
from pathlib import Path
from criteo_stream import Callback
from tests.support.training import trainer

class Stop(Callback):
    def on_checkpoint(self, folder, step):
        raise SystemExit

data, run, stops = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "stops"
made = trainer(data, run, epochs=2, logger=["wandb"], callbacks=[Stop()] if stops else [])
made.fit()
"""


def test_wandb_offline_goes_on_with_one_id(data: Path, tmp_path: Path) -> None:
    run, notes = tmp_path / "run", []
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    for how in ("stops", "goes on"):
        command = [sys.executable, "-c", _TWICE, str(data), str(run), how]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        notes.append(json.loads((run / "wandb.json").read_text()))
    first, second = (line["rows"] for line in figures(run))
    assert [note["rows"] for note in notes] == [first, second]
    assert notes[0]["id"] == notes[1]["id"]
    logs = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    assert len(logs) == 2
    assert all(notes[0]["id"] in log.name for log in logs)


def test_a_lost_connection_to_wandb_is_one_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut:
        id, summary = "abc", SimpleNamespace(update=lambda figures: None)

        def log(self, figures: Any, step: int) -> None:
            raise wandb.errors.CommError("connection lost")

        def finish(self, exit_code: int) -> None:
            raise wandb.errors.CommError("connection lost")

    monkeypatch.setattr(wandb, "init", lambda **_: Cut())
    with pytest.raises(RunError, match=r"cannot be reached \(connection lost\): .* continues"):
        fit(data, tmp_path / "run", logger=["wandb"])
    assert fit(data, tmp_path / "run").finished
    with pytest.raises(RunError, match="connection lost"):
        fit(data, tmp_path / "run", logger=["wandb"])
