"""Training: the same weights however it is interrupted, and words for all that can go wrong."""

import itertools
import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from criteo_stream import Trainer, plot
from criteo_stream.base.errors import DataSetError, OutputError, RunError, UsageError
from criteo_stream.base.records import sealed
from criteo_stream.base.toml import read_toml
from criteo_stream.data.manifest import Manifest
from criteo_stream.metrics.figures import Evaluation
from criteo_stream.predict.restore import load_run
from criteo_stream.runs import checkpoint, checkpoint_folder
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.execution import Execution
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.history import History, HistoryLine
from criteo_stream.runs.state import weights_in
from criteo_stream.train import loop
from criteo_stream.train.active_run import ActiveRun
from tests.support.prepared import write_data_set
from tests.support.training import (
    Crash,
    Outcome,
    crash_after,
    figures,
    fit,
    outcome,
    stop_after,
    tiny_set,
    trainer,
    weights,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk", "no_plots")

PLAN: dict[str, Any] = {
    "epochs": 2,
    "evaluate_every": 300,
    "checkpoint_every": 100,
    "patience": 100,
    "l2_linear": 0.001,
    "l2_embedding": 0.01,
}
STEPS = 2 * math.ceil(710 / 32)


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Drawing takes longer than a small run."""
    if "plots" not in request.node.name:
        monkeypatch.setattr("criteo_stream.train.assembly.plot_all", lambda history, folder: [])


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    result = fit(data, run, **PLAN)
    assert result.finished
    assert result.steps == STEPS
    assert result.rows == 2 * 710
    return outcome(run)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_change_a_bit(
    data: Path, undisturbed: Outcome, tmp_path: Path, workers: int
) -> None:
    fit(data, tmp_path / "run", workers=workers, **PLAN)
    assert outcome(tmp_path / "run") == undisturbed


def test_the_plan_is_kept(undisturbed: Outcome) -> None:
    # 300, 600, the end of the epoch, and the same again in the next.
    assert [line["rows"] for line in undisturbed.history] == [320, 608, 710, 1030, 1318, 1420]
    assert [line["epoch"] for line in undisturbed.history] == [1, 1, 1, 2, 2, 2]
    assert undisturbed.history[-1]["step"] == STEPS
    assert undisturbed.history[-1]["train_loss"] < undisturbed.history[0]["train_loss"]


@pytest.mark.parametrize("step", [1, 22, 23, 24, STEPS - 1])
def test_a_signal_stops_and_the_same_call_continues_exactly(
    data: Path,
    undisturbed: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        stopped = fit(data, tmp_path / "run", workers=1, **PLAN)
    assert not stopped.finished
    assert stopped.steps == step
    assert "the same command again continues" in stopped.summary()
    continued = fit(data, tmp_path / "run", **PLAN)
    assert continued.finished
    assert continued.resumed_from == step
    assert outcome(tmp_path / "run") == undisturbed


def test_a_signal_in_the_last_step_is_too_late(
    data: Path, undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, STEPS)
    assert fit(data, tmp_path / "run", **PLAN).finished
    assert outcome(tmp_path / "run") == undisturbed


@settings(
    max_examples=3,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(crashes=st.lists(st.integers(0, STEPS - 1), min_size=1, max_size=4))
def test_crashes_cost_only_the_way_from_the_last_checkpoint(
    data: Path,
    undisturbed: Outcome,
    tmp_path_factory: pytest.TempPathFactory,
    crashes: list[int],
) -> None:
    run = tmp_path_factory.mktemp("crashes") / "run"
    at = 0
    for steps in crashes:
        with pytest.MonkeyPatch.context() as patch:
            crash_after(patch, steps)
            try:
                result = fit(data, run, workers=1, **PLAN)
            except Crash:
                result = None
        latest = CheckpointFolder(run / "checkpoints").load_latest()
        saved = latest.state["step"] if latest else 0
        if result is None:
            assert (at + steps - saved) * 32 < 100 + 32, "more was lost than --checkpoint-every"
        at = saved
    fit(data, run, **PLAN)
    assert outcome(run) == undisturbed


def test_a_finished_run_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(data, tmp_path / "run")
    written = (tmp_path / "run" / "history.jsonl").stat().st_mtime_ns
    again = fit(data, tmp_path / "run", quiet=False)
    assert again.finished
    now = (tmp_path / "run" / "history.jsonl").stat().st_mtime_ns
    assert now == written, "a report dates the run by it"
    assert again.resumed_from == again.steps
    assert "already finished" in capsys.readouterr().err


def test_history_of_a_run_killed_before_its_first_checkpoint_is_not_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "save", crash)
        with pytest.raises(Crash):
            fit(data, tmp_path / "run")
    history = tmp_path / "run" / "history.jsonl"
    assert len(history.read_text().splitlines()) == 1
    history.write_text(history.read_text() + '{"step": 4')  # a line that a crash cut short
    fit(data, tmp_path / "run")
    assert [line["step"] for line in figures(tmp_path / "run")] == [23]


@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_early_stopping(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    values = iter([0.6, 0.7, 0.7, 0.65, 0.9, 0.1])

    def evaluate(*_: Any, **__: Any) -> tuple[Evaluation, None]:
        value = next(values)
        figures = Evaluation(
            auc=value, log_loss=1 - value, ne=1.0, calibration=1.0, rows=1, positives=1
        )
        return figures, None

    monkeypatch.setattr("criteo_stream.train.recorder.Recorder._evaluated", evaluate)
    plan = {"epochs": 4, "evaluate_every": 320, "patience": 2, "metric": metric}
    result = fit(data, tmp_path / "run", **plan)
    assert result.finished
    assert len(result.history) == 4, "the equal and the worse one use patience up"
    assert result.best == result.history[1]
    assert load_run(tmp_path / "run").step == result.history[1].step
    again = fit(data, tmp_path / "run", **plan)
    assert again.finished
    assert again.steps == result.steps


def test_best_is_loaded_whatever_the_order_of_actions(
    data: Path, undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after a checkpoint's rename leaves the links on the one before."""
    original = checkpoint_folder.point_link

    def crash_at_best(folder: Path, name: str, target: Path) -> None:
        if name == "best" and target.name > "step-0000000020":
            raise Crash
        original(folder, name, target)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_folder, "point_link", crash_at_best)
        with pytest.raises(Crash):
            fit(data, tmp_path / "run", **PLAN)
    fit(data, tmp_path / "run", **PLAN)
    assert outcome(tmp_path / "run") == undisturbed


def test_learning_rate_rises_then_falls_to_zero_within_the_pass(data: Path, tmp_path: Path) -> None:
    result = fit(data, tmp_path / "run", warmup=0.3, evaluate_every=1, learning_rate=0.02)
    rates = [line.learning_rate for line in result.history]
    peak = rates.index(max(rates))
    assert rates[peak] == pytest.approx(0.02)
    assert peak in (6, 7)
    assert all(a < b for a, b in itertools.pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in itertools.pairwise(rates[peak + 1 :]))
    assert 0 < rates[-1] < 0.002


def test_l2_makes_looked_up_rows_smaller(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "free")
    fit(data, tmp_path / "bound", l2_embedding=0.1, l2_linear=0.1)
    free, bound = (weights(tmp_path / n)["table.weight"] for n in ("free", "bound"))
    assert bound.square().sum() < free.square().sum()


def test_plots_are_drawn(data: Path, tmp_path: Path) -> None:
    from matplotlib.image import imread

    fit(data, tmp_path / "run", evaluate_every=100)
    pictures = sorted((tmp_path / "run" / "plots").glob("*.png"))
    assert [p.name for p in pictures] == ["auc.png", "learning_rate.png", "loss.png"]
    for picture in pictures:
        pixels = imread(picture)[..., :3]
        assert pixels.shape[0] > 300
        colours = {tuple(c) for c in pixels.reshape(-1, 3).round(1).tolist()}
        assert len(colours) > 5, f"{picture} is blank"


def test_the_history_is_a_frame_that_can_be_drawn(data: Path, tmp_path: Path) -> None:
    made = trainer(data, tmp_path, epochs=2)
    result = made.fit()
    assert made.history.to_dicts() == [line.to_dict() for line in result.history]
    drawn, same = plot(made.history, "auc"), plot(result.history, "auc", tmp_path / "auc.png")
    for figure in (drawn, same):
        line, star = figure.axes[0].lines
        assert list(line.get_ydata()) == [evaluation.auc for evaluation in result.history]
        assert list(star.get_ydata()) == [max(evaluation.auc for evaluation in result.history)]
        assert figure._repr_png_().startswith(b"\x89PNG")
    assert (tmp_path / "auc.png").exists()


def test_config_repeats_a_run(data: Path, undisturbed: Outcome, tmp_path: Path) -> None:
    fit(data, tmp_path / "run", **PLAN)
    raw = read_toml(tmp_path / "run" / "config.toml")
    assert raw["data"]["fingerprint"] == Manifest.read(data).fingerprint
    config = TrainConfig.from_dict(raw["train"], "config.toml")
    options = {"threads": 1, "workers": 0, "quiet": True, "checkpoint_every": 100}
    Trainer(data, tmp_path / "again", config, **options).fit()
    assert outcome(tmp_path / "again") == undisturbed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 1}, r"unknown option epoch: did you mean epochs\?"),
        ({"epochs": "2"}, "epochs is '2', expected a whole number"),
        ({"zzz": 1}, "unknown option zzz$"),
        ({"model": 3}, "model is 3, expected text"),
        ({"epochs": True}, "epochs is True"),
    ],
)
def test_a_config_with_mistakes_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig.from_dict(values, "my.toml")


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 0}, "--batch-size"),
        ({"warmup": 1.0}, "--warmup"),
        ({"learning_rate": math.nan}, "--learning-rate"),
        ({"l2_linear": math.inf}, "--l2-linear"),
        ({"numeric": "all"}, "--numeric"),
        ({"metric": "loss"}, "--metric"),
        ({"patience": -1}, "--patience"),
    ],
)
def test_options_without_sense_name_their_flag(values: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        TrainConfig(**values)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"workers": -1}, "--workers"),
        ({"keep": 0}, "--keep"),
        ({"threads": 0}, "--threads"),
        ({"checkpoint_every": -5}, "--checkpoint-every"),
        ({"checkpoint_minutes": math.nan}, "--checkpoint-minutes"),
    ],
)
def test_execution_options_without_sense_name_their_flag(values: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        Execution(**values)


def test_checkpoints_come_by_the_clock_too(
    data: Path, undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    original = CheckpointFolder.save

    def save(self: CheckpointFolder, step: int, *args: Any, **options: Any) -> Path:
        saved.append(step)
        return original(self, step, *args, **options)

    monkeypatch.setattr(CheckpointFolder, "save", save)
    fit(data, tmp_path / "run", **PLAN | {"checkpoint_every": 0, "checkpoint_minutes": 1e-9})
    assert saved == list(range(1, STEPS + 1))
    assert outcome(tmp_path / "run") == undisturbed


def test_from_starts_with_the_best_weights_of_a_run(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "first")
    options = {"from_run": tmp_path / "first", "learning_rate": 0.0}
    fit(data, tmp_path / "second", **options)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert read_toml(tmp_path / "second" / "config.toml")["start"]["from"].endswith("first")
    with pytest.raises(RunError, match=r"was begun with --from .*first, now without --from"):
        fit(data, tmp_path / "second", learning_rate=0.0)


def test_from_another_shape_is_refused(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "first")
    with pytest.raises(RunError, match=r"weights of .*first do not fit the model: .*size mismatch"):
        fit(data, tmp_path / "second", from_run=tmp_path / "first", embedding_dim=8)


def test_more_epochs_are_a_new_run(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "run")
    with pytest.raises(RunError, match=r"begun with --epochs 1, now with --epochs 2: .*--from"):
        fit(data, tmp_path / "run", epochs=2)
    with pytest.raises(RunError, match=r"begun with --seed 0, now with --seed 1: give the same"):
        fit(data, tmp_path / "run", seed=1)


@pytest.mark.parametrize("label", [0, 1])
def test_all_labels_equal(tmp_path: Path, label: int) -> None:
    import dataclasses

    manifest = write_data_set(tmp_path / "set", {"train": [90], "valid": [30]})
    shard = dataclasses.replace(manifest.shards["train"][0], positives=90 * label)
    dataclasses.replace(manifest, shards=manifest.shards | {"train": [shard]}).write(
        tmp_path / "set"
    )
    with pytest.raises(DataSetError, match=f"all 90 training labels of .* are {label}"):
        fit(tmp_path / "set", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"train split of .* is empty"):
        fit(tiny_set(tmp_path / "set", train=()), tmp_path / "run")


def test_an_empty_valid_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny_set(tmp_path / "set", valid=())
    result = fit(data, tmp_path / "run", epochs=2, patience=1, quiet=False)
    assert result.finished
    assert [line.auc for line in result.history] == [None, None]
    assert all(line.train_loss > 0 for line in result.history)
    told = capsys.readouterr().err
    assert "valid split is empty" in told
    assert "★" not in told, "no line is the best of none"
    assert "undefined" not in str(result)
    assert load_run(tmp_path / "run").step == result.steps
    assert f"step {result.steps} are kept" in result.summary()


def test_a_valid_split_of_one_label(tmp_path: Path) -> None:
    """Row 0 is a click, rows 1 and 2 are not; AUC and calibration have no value then."""
    data = tiny_set(tmp_path / "set", valid=(1,))
    result = fit(data, tmp_path / "run", epochs=3, patience=1, quiet=False)
    assert result.finished
    assert [line.auc for line in result.history] == [None] * 3
    assert all(line.log_loss > 0 for line in result.history)
    assert load_run(tmp_path / "run").step == result.steps, "the latest counts as the best"


class Diverging(nn.Module):
    """Wraps a model so that it gives infinite logits."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x_num: torch.Tensor, x_cat: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(x_num, x_cat)
        return logits + math.inf


def test_an_infinite_loss_stops_with_the_place(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = loop.train_step, itertools.count(1)

    def train_step(model: nn.Module, *arguments: Any) -> torch.Tensor:
        return original(Diverging(model) if next(calls) == 30 else model, *arguments)

    monkeypatch.setattr(loop, "train_step", train_step)
    with pytest.raises(RunError) as raised:
        fit(data, tmp_path / "run", epochs=2, checkpoint_every=320)
    # Infinite where the label is 0, and not a number where it is 1.
    assert re.search(r"the loss is (inf|nan) at step 30 \(epoch 2, batch 7;", str(raised.value))
    assert "--learning-rate" in str(raised.value)
    latest = CheckpointFolder(tmp_path / "run" / "checkpoints").load_latest()
    assert latest is not None
    assert latest.state["step"] == 23, "the last good one"


def test_a_huge_learning_rate_names_the_columns_and_spoils_no_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beyond what the option allows, so that a tiny set diverges at once.
    monkeypatch.setattr(ActiveRun, "learning_rate", lambda *_: 1e30)
    with pytest.raises(RunError, match=r"at step \d+ \(epoch 1, batch \d+; diverged columns: I1"):
        fit(data, tmp_path / "run", checkpoint_every=1, warmup=0)
    latest = CheckpointFolder(tmp_path / "run" / "checkpoints").load_latest()
    assert latest is None or all(t.isfinite().all() for t in latest.tensors.values())


def test_one_diverged_id_is_traced_to_its_column(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.train_step
    offset = sum(Manifest.read(data).categories[:6])

    def train_step(model: Any, *arguments: Any) -> torch.Tensor:
        with torch.no_grad():
            model.table.weight[offset] = math.nan  # id 0 of C7
        return original(model, *arguments)

    monkeypatch.setattr(loop, "train_step", train_step)
    with pytest.raises(RunError, match=r"diverged columns: C7\)"):
        fit(data, tmp_path / "run")


def test_a_run_on_another_data_set(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "run")
    other = tiny_set(tmp_path / "other", train=(300,))
    with pytest.raises(RunError, match="is a run on another data set"):
        fit(other, tmp_path / "run")


def test_a_moved_data_set_is_the_same(data: Path, tmp_path: Path) -> None:
    import shutil

    fit(data, tmp_path / "run")
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    assert fit(moved, tmp_path / "run").finished
    expected = trainer(data, tmp_path / "run").evaluate("test")
    assert trainer(data, tmp_path / "run").evaluate("test", data=moved) == expected


def test_a_folder_that_is_no_run(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match=r"not empty and is not a run \(found notes.txt\)"):
        fit(data, tmp_path)
    with pytest.raises(RunError, match="exists and is not a folder"):
        fit(data, tmp_path / "notes.txt")


def test_two_processes_in_one_run_folder(data: Path, tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path / "run").locked(),
        pytest.raises(RunError, match="another process trains in"),
    ):
        fit(data, tmp_path / "run")
    assert fit(data, tmp_path / "run").finished


def test_tables_that_do_not_fit_the_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("criteo_stream.train.limits.available_bytes", lambda: 1_000_000)
    with pytest.raises(RunError, match=r"tables take .* kB .* are available: .*--min-count"):
        fit(data, tmp_path / "run")


def test_checkpoints_that_do_not_fit_the_disk(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("criteo_stream.train.limits.free_disk", lambda path: 1_000_000)
    with pytest.raises(OutputError, match=r"can take .* 1 MB of disk are free: .*--keep"):
        fit(data, tmp_path / "run")


def test_evaluate_and_predict_refuse_in_words(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "run")
    with pytest.raises(UsageError, match="--split nope is not known"):
        trainer(data, tmp_path / "run").evaluate("nope")
    no_valid = tiny_set(tmp_path / "no_valid", valid=(), test=(270,))
    with pytest.raises(DataSetError, match=r"valid split of .* is empty"):
        trainer(data, tmp_path / "run").evaluate("valid", data=no_valid)
    with pytest.raises(RunError, match="does not exist: check the path of the run"):
        trainer(data, tmp_path / "none").evaluate()


def test_evaluate_takes_the_best_weights_and_keeps_its_figures(data: Path, tmp_path: Path) -> None:
    result = fit(data, tmp_path / "run", epochs=2, evaluate_every=100)
    assert result.best is not None
    found = trainer(data, tmp_path / "run").evaluate("valid")
    assert found.auc == result.best.auc
    assert found.log_loss == pytest.approx(result.best.log_loss, rel=1e-12)
    assert found.rows == 150


def test_signals_are_as_before_afterwards(data: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    fit(data, tmp_path / "run")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_interrupt_ends_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.train_step

    def train_step(*arguments: Any) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(loop, "train_step", train_step)
    with pytest.raises(KeyboardInterrupt):
        fit(data, tmp_path / "run")


def test_history_names_the_line_that_is_damaged(tmp_path: Path) -> None:
    line = HistoryLine(
        epoch=1, step=1, rows=32, train_loss=0.7, learning_rate=0.01, auc=None, log_loss=0.7,
        ne=1.0, calibration=None, rows_per_second=1, waited_for_data=0.0, peak_memory_bytes=1,
    )  # fmt: skip
    whole = json.dumps(line.to_dict())
    (tmp_path / "history.jsonl").write_text(f"{whole}\nnonsense\n{whole}\n")
    with pytest.raises(RunError, match="line 2 is damaged"):
        History(tmp_path / "history.jsonl").read()
    (tmp_path / "history.jsonl").write_text(f'{whole}\n{{"step": 2}}\n')
    with pytest.raises(RunError, match=r"line 2 is damaged \(its checksum differs\)"):
        History(tmp_path / "history.jsonl").read()


def test_a_history_line_of_a_version_that_knew_no_gpu_is_read(tmp_path: Path) -> None:
    line = HistoryLine(
        epoch=1, step=1, rows=32, train_loss=0.7, learning_rate=0.01, auc=None, log_loss=0.7,
        ne=1.0, calibration=None, rows_per_second=1, waited_for_data=0.0, peak_memory_bytes=1,
    )  # fmt: skip
    older = {k: v for k, v in line.to_dict().items() if k != "peak_device_memory_bytes"}
    for written in (older, sealed(older)):
        (tmp_path / "history.jsonl").write_text(json.dumps(written) + "\n")
        assert History(tmp_path / "history.jsonl").read() == [line]


def test_importing_starts_nothing() -> None:
    check = """
import sys, threading, os
import criteo_stream, criteo_stream.cli
assert not {"torch", "polars", "pyarrow", "numpy"} & sys.modules.keys(), "heavy"
from criteo_stream import preprocess, CriteoDataset, FM, Trainer
assert threading.enumerate() == [threading.main_thread()]
children = open(f"/proc/self/task/{os.getpid()}/children").read()
assert not children, children
assert preprocess.__module__.startswith("criteo_stream.prepare")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", check], check=True, timeout=120)


def test_the_model_is_there_after_training(data: Path, tmp_path: Path) -> None:
    made = trainer(data, tmp_path / "run", epochs=2, evaluate_every=100)
    with pytest.raises(RunError, match="does not exist: check the path of the run"):
        made.model  # noqa: B018
    made.fit()
    best = weights_in(CheckpointFolder(tmp_path / "run" / "checkpoints").load_best().tensors)
    assert all(torch.equal(best[n], tensor) for n, tensor in made.model.state_dict().items())
    assert not made.model.training


def test_a_run_saved_by_the_version_before_continues_exactly(
    data: Path, undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 30)
        fit(data, tmp_path / "run", **PLAN)
    (latest,) = (tmp_path / "run" / "checkpoints").glob("step-0000000030")
    raw = json.loads((latest / "state.json").read_text())
    state = raw["state"]
    state["best"] = {"best": state["best"], "waited": state.pop("waited")}
    state["data"] |= {"epoch": 1, "batch": 7}
    old = {"version": 1, "tensors_crc32": raw["tensors_crc32"], "state": state}
    old["state_crc32"] = checkpoint.state_crc32(old)
    (latest / "state.json").write_text(json.dumps(old))
    assert fit(data, tmp_path / "run", **PLAN).resumed_from == 30
    assert outcome(tmp_path / "run") == undisturbed


def test_unknown_ways_of_training_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown option worker: did you mean workers"):
        Trainer(data, tmp_path, worker=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "name", ["checkpoints", "plots", "tensorboard", "README.md", "mlruns", "history.jsonl"]
)
def test_nothing_is_written_or_removed_through_a_link(
    data: Path, tmp_path: Path, name: str
) -> None:
    run, parent = tmp_path / "parent" / "run", tmp_path / "parent"
    fit(data, run, epochs=2)
    (parent / ".config").mkdir()
    (parent / ".config" / "theirs").touch()
    path = run / name
    if path.exists():
        path.rename(parent / "aside")
    path.symlink_to(parent)
    before = sorted(parent.rglob("*"))
    with pytest.raises(RunError, match=f"{name} is a link"):
        fit(data, run, epochs=2)
    assert sorted(parent.rglob("*")) == before


def test_only_unfinished_checkpoints_of_ours_are_removed(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    for name in (".config", ".step-0000000007.partial"):
        (checkpoints / name).mkdir()
    fit(data, tmp_path / "run")
    assert (checkpoints / ".config").exists()
    assert not (checkpoints / ".step-0000000007.partial").exists()
