"""Signals, missing homes and outputs that exist: one sentence each, and nothing lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import typer

from criteo_stream import __main__, cli, predict_run, write_report
from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.storage import atomic_path
from criteo_stream.runs import checkpoint, checkpoint_folder
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from tests.support.data_sets import prepare
from tests.support.processes import wait_for
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.training import fit


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "train.txt", raw_lines(3000))


@pytest.fixture(scope="module")
def run(raw: Path) -> Path:
    prepare(raw, raw.parent / "data", min_count=3)
    fit(raw.parent / "data", raw.parent / "run")
    return raw.parent / "run"


def started(*arguments: object, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "criteo_stream", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")]
)
def test_a_signal_to_a_preparation_is_told(
    raw: Path, tmp_path: Path, number: signal.Signals, word: str
) -> None:
    fifo = tmp_path / "work"
    process = started("preprocess", raw.parent, "--out", fifo, "--layout", "kaggle")
    wait_for(lambda: (fifo / ".work").exists() or process.poll() is not None)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if process.returncode:  # else it was quicker than the signal
        assert process.returncode == 128 + number
        assert err.splitlines()[-1] == f"{word}: the same command again continues"
        assert "Traceback" not in err


@pytest.mark.parametrize("home", ["unreadable", "none"])
def test_no_command_needs_a_home(raw: Path, tmp_path: Path, home: str) -> None:
    env = {"HOME": "/proc/1/root/nowhere"} if home == "unreadable" else {"HOME": ""}
    process = started("inspect", raw, env=env)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "raw log" in out


def test_predictions_do_not_replace_what_is_none(run: Path, raw: Path, tmp_path: Path) -> None:
    lines = write_raw(tmp_path / "lines.csv", raw_lines(50, seed=2))
    same = tmp_path / "same.csv"
    same.hardlink_to(lines)
    before = lines.read_bytes()
    for out in (lines, same):
        with pytest.raises(UsageError, match="is one of the inputs"):
            predict_run(run, [lines], out, quiet=True)
    vocabulary = raw.parent / "data" / "vocabulary" / "C1.parquet"
    whole = vocabulary.read_bytes()
    other = write_raw(tmp_path / "notes.csv", [b"a,b", b"1,2"])
    for out in (vocabulary, other):
        with pytest.raises(OutputError, match="holds no predictions"):
            predict_run(run, [lines], out, quiet=True)
    assert (lines.read_bytes(), vocabulary.read_bytes()) == (before, whole)
    for name in ("p.parquet", "p.csv"):  # earlier predictions are replaced
        for _ in range(2):
            assert predict_run(run, [lines], tmp_path / name, quiet=True).rows == 50


def test_a_report_replaces_only_a_report(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>somebody's</p>")
    with pytest.raises(OutputError, match="is not a report"):
        write_report([run], page, quiet=True)
    assert page.read_text() == "<p>somebody's</p>"
    with pytest.raises(UsageError, match=r"must end in \.html"):
        write_report([run], run / "config.toml", quiet=True)
    for _ in range(2):
        write_report([run], tmp_path / "report.html", quiet=True)


def test_two_writers_of_one_file_leave_one_whole(tmp_path: Path) -> None:
    path, barrier = tmp_path / "file", threading.Barrier(2)

    def write(content: bytes) -> None:
        with atomic_path(path, shared=True) as partial:
            for piece in (content[:1000], content[1000:]):
                with partial.open("ab") as file:
                    file.write(piece)
                barrier.wait()

    threads = [threading.Thread(target=write, args=(bytes([x]) * 2000,)) for x in (65, 66)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in (b"A" * 2000, b"B" * 2000)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_two_predictions_at_once_leave_a_readable_file(
    run: Path, raw: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.parquet"
    threads = [
        threading.Thread(target=predict_run, args=(run, [raw], out), kwargs={"quiet": True})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert pq.read_table(out).num_rows == 3000
    assert pl.read_parquet(out)["row"].to_list() == list(range(3000))


def test_a_reader_beside_a_training_takes_the_next_checkpoint(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    folder = tmp_path / "checkpoints"
    shutil.copytree(run / "checkpoints", folder, symlinks=True)
    best = folder / (folder / "best").readlink()
    later = folder / "step-0000099999"
    original = checkpoint.file_crc32
    moved: list[Path] = []

    def dropped_meanwhile(path: Path) -> str:
        if not moved:
            moved.append(path)
            best.rename(later)
            checkpoint_folder.point_link(folder, "best", later)
        return original(path)

    monkeypatch.setattr(checkpoint, "file_crc32", dropped_meanwhile)
    found: Any = CheckpointFolder(folder).load_best()
    assert moved
    assert found.state["step"] > 0


@pytest.mark.parametrize("typers", ["exit code", "abort"])
def test_an_interruption_before_the_command_runs_is_told(
    typers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> int:
        if typers == "abort":
            raise typer.Abort
        return 130

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as exit_:
        __main__.run()
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "interrupted: the same command again continues\n"
