"""Several ranks: the same run as one process, also under torchrun itself."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from tests.support.processes import TIMEOUT, Plan, start, torchrun, wait_for
from tests.support.training import as_flags, farthest, figures, fit, outcome, tiny_set, weights

STEP = "criteo_stream.train.loop:train_step"
FIGURES = ("train_loss", "auc", "log_loss", "ne", "calibration")


def train(data: Path, run: Path, **options: Any) -> list[str]:
    return ["train", str(data), "--out", str(run), *as_flags(**options)]


def last_json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads([line for line in text.splitlines() if line[:1] == "{"][-1])
    return found


def assert_close(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Equal but for the order of float32 sums."""
    assert one.keys() == two.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            assert_close(value, two[key])
        else:
            assert two[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-7))


@pytest.mark.slow  # under torchrun; test_family has two ranks without it
def test_torchrun_gives_the_weights_of_one_process(data: Path, tmp_path: Path) -> None:
    """Over 228 steps, whose last of each epoch has 16 of 32 rows."""
    plan = {"epochs": 6, "evaluate_every": 1000}
    command = [*train(data, tmp_path / "two", **plan), "--json"]
    assert torchrun(command, tmp_path).wait(TIMEOUT) == 0, (tmp_path / "torchrun.log").read_text()
    result = last_json((tmp_path / "torchrun.log").read_text())
    assert (result["steps"], result["rows"]) == (228, 7200)
    fit(data, tmp_path / "one", **plan)
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-5
    one, two = figures(tmp_path / "one"), figures(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for ours, theirs in zip(one, two, strict=True):
        assert {k: ours[k] for k in FIGURES} == pytest.approx(
            {k: theirs[k] for k in FIGURES}, abs=1e-4
        )
    assert (tmp_path / "two" / "plots" / "auc.png").exists()


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_continues_on_another_number_of_ranks(
    data: Path, tmp_path: Path, before: int, after: int
) -> None:
    plan = {"epochs": 3, "evaluate_every": 1000, "checkpoint_every": 320}
    command = train(data, tmp_path / "run", **plan)
    stop = Plan(target=STEP, call=50, act="SIGTERM")
    stopped = start(command, tmp_path, ranks=before, plan=stop)
    assert stopped.wait() == [0] * before, stopped.text()
    latest = CheckpointFolder(tmp_path / "run" / "checkpoints").load_latest()
    assert latest is not None
    assert 50 <= latest.state["step"] < 58, "in the middle of the second epoch"
    continued = start(command, tmp_path, ranks=after)
    assert continued.wait() == [0] * after, continued.text()
    fit(data, tmp_path / "one", **plan)
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "run")) < 1e-5
    rows = [[line["rows"] for line in figures(tmp_path / n)] for n in ("one", "run")]
    assert rows[0] == rows[1]


def test_ranks_without_rows_in_the_last_batch(tmp_path: Path) -> None:
    """3 ranks, and a last batch of one row, in training and in evaluation."""
    data = tiny_set(tmp_path / "set", train=(129,), valid=(1,), test=(400,))
    plan = {"epochs": 2, "evaluate_every": 64, "checkpoint_every": 32}
    running = start(train(data, tmp_path / "run", **plan), tmp_path, ranks=3)
    assert running.wait() == [0] * 3, running.text()
    fit(data, tmp_path / "one", **plan)
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "run")) < 1e-5
    assert [line["rows"] for line in figures(tmp_path / "run")] == [64, 128, 129, 193, 257, 258]


def test_more_ranks_than_lanes_is_refused_once(data: Path, tmp_path: Path) -> None:
    running = start(train(data, tmp_path / "run", lanes=1), tmp_path, ranks=2)
    # The first rank tells why and has the code for it; the other only knows that it failed.
    assert running.wait(60) == [2, 1]
    assert "2 ranks cannot share 1 lane:" in running.text(0)
    assert running.text(1) == ""


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_evaluation_on_two_ranks_is_that_of_one(data: Path, tmp_path: Path, split: str) -> None:
    fit(data, tmp_path / "run", learning_rate=0.05, init_scale=0.3)
    fit(data, tmp_path / "other", learning_rate=0.02, init_scale=0.2)
    command = ["evaluate", str(tmp_path / "run"), "--against", str(tmp_path / "other")]
    command += ["--split", split, "--json", "--quiet"]
    found = []
    for ranks in (1, 2):
        running = start(command, tmp_path / str(ranks), ranks=ranks)
        assert running.wait() == [0] * ranks, running.text()
        found.append(last_json(running.text(0)))
        assert all(running.text(rank) == "" for rank in range(1, ranks))
    one, two = found
    assert one["rows"] == two["rows"] > 100
    assert one["positives"] == two["positives"]
    assert two["auc"] == pytest.approx(one["auc"], abs=1e-12)
    for mine, theirs in ((one, two), (one.pop("against"), two.pop("against"))):
        # A row's logit can differ in its last bit by its place in a batch.
        curves = mine.pop("calibration_curve"), theirs.pop("calibration_curve")
        for part, same in zip(*curves, strict=True):
            assert part.pop("predicted") == pytest.approx(same.pop("predicted"), rel=1e-6)
            assert part == same
        assert_close(mine, theirs)


@pytest.mark.slow  # 17 processes
def test_evaluation_takes_more_ranks_than_lanes(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "run")
    command = ["evaluate", str(tmp_path / "run"), "--json", "--quiet"]
    running = start(command, tmp_path, ranks=17)
    assert running.wait() == [0] * 17, running.text()
    assert last_json(running.text(0))["rows"] == 120


@pytest.mark.slow  # torchrun starts the ranks twice
def test_torchrun_restarts_a_killed_rank_and_continues_exactly(data: Path, tmp_path: Path) -> None:
    restart_and_compare(data, tmp_path, kills=[(60, 1)])


@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 2, 20, 38, 39, 60, 75, 90, 100, 113])
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_restarts_ten_times_of_ten(
    data: Path, tmp_path: Path, call: int, rank: int
) -> None:
    restart_and_compare(data, tmp_path, kills=[(call, rank)])


def restart_and_compare(data: Path, folder: Path, *, kills: list[tuple[int, int]]) -> None:
    plan = {"epochs": 3, "evaluate_every": 600, "checkpoint_every": 200}
    ((call, rank),) = kills
    killed = Plan(target=STEP, call=call, rank=rank)
    running = torchrun(train(data, folder / "run", **plan), folder, restarts=1, plan=killed)
    log = folder / "torchrun.log"
    assert running.wait(TIMEOUT) == 0, log.read_text()
    undisturbed = start(train(data, folder / "two", **plan), folder, ranks=2)
    assert undisturbed.wait() == [0, 0], undisturbed.text()
    assert outcome(folder / "run") == outcome(folder / "two")


@pytest.mark.slow  # torchrun starts the ranks twice
def test_torchrun_ends_a_run_whose_rank_raises(data: Path, tmp_path: Path) -> None:
    """After using up the restarts; its message is there, and a traceback of ours is not."""
    plan = Plan(target=STEP, call=5, act="raise", rank=1, attempt=-1)
    running = torchrun(train(data, tmp_path / "run"), tmp_path, restarts=1, plan=plan)
    assert running.wait(60) == 1
    text = (tmp_path / "torchrun.log").read_text()
    assert text.count("error: part-00007.parquet is damaged: restore it") == 2
    assert "criteo_stream/" not in text, "a traceback through the package"


@pytest.mark.slow  # without torchrun: test_a_signal_saves_and_ends_well
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_torchrun_is_stopped_by_a_signal_and_loses_nothing(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    plan = {"epochs": 60, "checkpoint_every": 320}
    command = train(data, tmp_path / "run", **plan)
    running = torchrun(command, tmp_path, plan=Plan())
    checkpoints = CheckpointFolder(tmp_path / "run" / "checkpoints")
    log = tmp_path / "torchrun.log"
    wait_for(lambda: len(checkpoints.steps()) > 1 or running.poll() is not None)
    assert running.poll() is None, log.read_text()
    running.send_signal(number)
    assert running.wait(60) == 1, "torchrun's own code, whatever that of the ranks"
    text = log.read_text()
    assert "stopped at step" in text
    assert "the same command again continues" in text
    latest = checkpoints.load_latest()
    assert latest is not None
    said = text.partition("stopped at step ")[2].partition(",")[0]
    assert latest.state["step"] == int(said)
    assert latest.state["step"] % 8 == 0, "where the ranks agreed"
