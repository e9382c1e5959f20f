"""Days that are predicted first and then learned from: the same as every step by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from criteo_stream import TrainConfig, Trainer, evaluate_run, progressive
from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.records import write_record
from criteo_stream.daily.folder import ProgressiveFolder
from criteo_stream.daily.loop import ProgressiveResult
from criteo_stream.data.manifest import Manifest
from tests.support.data_sets import content, prepare
from tests.support.processes import run as run_command
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.training import outcome

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

CONFIG = TrainConfig(embedding_dim=4, batch_size=64)
PREPARE: dict[str, Any] = {"min_count": 2, "memory": "1GB"}
ROWS = (400, 350, 300)


def go(raw: Any, out: Path, **options: Any) -> ProgressiveResult:
    return progressive(
        raw, out, options.pop("config", CONFIG), prepare=PREPARE, quiet=True, **options
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for day, rows in enumerate(ROWS):
        write_raw(folder / f"log_{day}", raw_lines(rows, seed=day))
    return folder


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    go(raw, out)
    return out


def table(out: Path) -> bytes:
    return (out / "days.jsonl").read_bytes()


def test_every_step_by_hand_gives_the_same(raw: Path, whole: Path, tmp_path: Path) -> None:
    records = ProgressiveFolder(whole).records()
    assert [record.rows for record in records] == list(ROWS)
    assert records[0].auc is None
    for day in range(len(ROWS)):
        before = {"extend": tmp_path / f"set-{day - 1}"} if day else {}
        data, run = tmp_path / f"set-{day}", tmp_path / f"run-{day}"
        prepare(raw / f"log_{day}", data, valid=0.0, test=0.0, **PREPARE, **before)
        found = ProgressiveFolder(whole)
        assert content(found.data(day)) == content(data)
        start: dict[str, Any] = {}
        if day:
            start = {"from_run": tmp_path / f"run-{day - 1}"}
            figures = evaluate_run(start["from_run"], "all", data=data, quiet=True)
            record = records[day]
            for name in ("rows", "positives", "auc", "log_loss", "ne", "calibration"):
                assert getattr(record, name) == getattr(figures, name), name
        config = TrainConfig(embedding_dim=4, batch_size=64, epochs=1)
        if day:
            l2 = float(f"{300 / sum(ROWS[: day + 1]):.2g}")
            assert config.resolved(ROWS[day]).learning_rate == 0.01
            rate = float(f"{0.01 * 0.5 / math.sqrt(day):.3g}")
            config = TrainConfig(
                embedding_dim=4, batch_size=64, epochs=1, learning_rate=rate, l2_embedding=l2,
                bins=16, init_scale=0.01, epsilon=1e-4,
            )  # fmt: skip
        Trainer(data, run, config, quiet=True, **start).fit()
        assert outcome(run) == outcome(found.run(day))
    assert sum(record.new_ids for record in records) == records[-1].ids
    assert all(record.oov_before > record.oov_after for record in records[1:])  # type: ignore[operator]


def test_more_days_go_on_where_it_ended(raw: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    days = [raw / f"log_{day}" for day in range(len(ROWS))]
    go(days[:1], out)
    go(days[:2], out)
    result = go(days, out)
    assert result.finished
    assert table(out) == table(whole)
    last = len(ROWS) - 1
    assert outcome(ProgressiveFolder(out).run(last)) == (
        outcome(ProgressiveFolder(whole).run(last))
    )
    again = go(days, out)
    assert again.days == result.days


def test_a_folder_of_an_older_version_goes_on(raw: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    days = [raw / f"log_{day}" for day in range(len(ROWS))]
    go(days[:2], out)
    # As the first release recorded it: evaluations at the ends of epochs, on all rows.
    write_record(out / "task.json", {
        "min_count": 2, "test": 0.0, "valid": 0.0, "model": "fm", "embedding_dim": 4,
        "hidden": "64,32", "bilinear": "each", "pairs": "inner", "layer_norm": False,
        "numeric": "both", "bins": None, "init_scale": None, "epochs": 1, "batch_size": 64,
        "learning_rate": None, "epsilon": None, "warmup": 0.02, "l2_linear": 0.0,
        "l2_embedding": None, "seed": 0, "lanes": 16, "evaluate_every": 0,
        "metric": "auc", "patience": 0,
    })  # fmt: skip
    go(days, out)
    assert table(out) == table(whole)


def test_only_so_many_days_are_kept(raw: Path, whole: Path, tmp_path: Path) -> None:
    go(raw, tmp_path / "out", keep=1)
    folder = ProgressiveFolder(tmp_path / "out")
    assert [path.name for path in (folder.path / "sets").iterdir()] == ["day-0002"]
    assert [path.name for path in (folder.path / "runs").iterdir()] == ["day-0002"]
    assert table(folder.path) == table(whole)
    assert go(raw, tmp_path / "out", keep=1).finished


def test_what_it_was_begun_with_stays(raw: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(raw, out)
    with pytest.raises(
        OutputError, match="begun with --embedding-dim 4, now with --embedding-dim 8"
    ):
        go(raw, out, config=TrainConfig(embedding_dim=8, batch_size=64))
    with pytest.raises(UsageError, match="has 3 days, and the command names 1"):
        go(raw / "log_0", out)
    with pytest.raises(UsageError, match=r"day 0 of .* is log_0, not log_1"):
        go([raw / "log_1", raw / "log_0", raw / "log_2"], out)
    lines = table(out).splitlines(keepends=True)
    (out / "days.jsonl").write_bytes(b"".join([lines[0], lines[1][:-9], b"\n", lines[2]]))
    with pytest.raises(OutputError, match=r"days\.jsonl, line 2 is damaged"):
        go(raw, out)
    (out / "days.jsonl").write_bytes(lines[0])  # as the message says
    go(raw, out)
    assert table(out) == table(whole)


def test_a_folder_of_something_else_is_refused(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    with pytest.raises(OutputError, match="holds no days"):
        go(raw, tmp_path / "out")
    with pytest.raises(UsageError, match="--keep is 0"):
        go(raw, tmp_path / "new", keep=0)


def test_the_command_ends_in_a_table(raw: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["--embedding-dim", "4", "--batch-size", "64", "--min-count", "2", "--memory", "1GB"]
    done = run_command(
        ["progressive", str(raw), "--out", str(out), *flags, "--quiet", "--json"], {}
    )
    assert done.returncode == 0
    assert all(line.startswith("warning: log_") for line in done.stderr.splitlines())
    figures = json.loads(done.stdout.splitlines()[-1])
    assert [day["name"] for day in figures["days"]] == ["log_0", "log_1", "log_2"]
    assert table(out) == table(whole)
    done = run_command(["progressive", str(raw), "--out", str(out), *flags, "--quiet"], {})
    head, *rows = done.stdout.splitlines()
    assert head.split()[:2] == ["day", "rows"]
    assert len(rows) == len(ROWS)
    assert f"{figures['days'][2]['auc']:.5f}" in rows[2]
    assert (out / "days.png").read_bytes().startswith(b"\x89PNG")
    assert Manifest.read(ProgressiveFolder(out).data(2)).rows["train"] == ROWS[2]
