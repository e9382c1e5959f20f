"""Files of others are never touched by a preparation, whatever the flag; a clearing survives."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import OutputError
from criteo_stream.data.folder import DataFolder
from criteo_stream.prepare import ownership
from tests.support.data_sets import content, prepare
from tests.support.stopped_preparation import OPTIONS, StoppedError, stop_early

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def everything(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def extension(out: Path) -> None:
    (out / "manifest.json").write_text(json.dumps({"manifest_version": 3, "name": "an extension"}))


def nonsense(out: Path) -> None:
    (out / "manifest.json").write_bytes(b"\xff{")


def deep(out: Path) -> None:
    (out / "manifest.json").write_text("[" * 100_000)


def work_of_another_tool(out: Path) -> None:
    (out / ".work").mkdir()
    (out / ".work" / "scratch.bin").write_bytes(b"theirs")


def task_of_another_tool(out: Path) -> None:
    (out / ".work").mkdir()
    (out / ".work" / "task.json").write_text('{"task": "theirs"}')


def a_work_folder_beside_files(out: Path) -> None:
    (out / ".work").mkdir()
    (out / "notes.txt").write_text("theirs")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "others",
    [
        extension,
        nonsense,
        deep,
        work_of_another_tool,
        task_of_another_tool,
        a_work_folder_beside_files,
    ],
)
def test_a_folder_of_others_is_refused_and_left(
    raw: Path, tmp_path: Path, others: Callable[[Path], None], *, restart: bool
) -> None:
    out = tmp_path / "out"
    for name in ("test", "train", "vocabulary"):
        (out / name).mkdir(parents=True)
        (out / name / "part-00000.parquet").write_bytes(b"theirs")
    others(out)
    before = everything(out)
    with pytest.raises(OutputError, match="holds no data set"):
        prepare(raw, out, restart=restart, **OPTIONS)
    assert everything(out) == before


def test_restart_leaves_files_that_others_put_into_our_folders(
    raw: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    out = tmp_path / "data"
    prepare(raw, out, **OPTIONS)
    theirs = [out / "train" / "notes.txt", out / "vocabulary" / "C99.txt", out / "test" / "a" / "b"]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("theirs")
    prepare(raw, out, restart=True, **OPTIONS)
    found = content(out)
    for path in theirs:
        assert found.pop(str(path.relative_to(out))) == b"theirs"
    assert found == expected


@pytest.mark.parametrize("name", ["train", "vocabulary", ".work", "quantiles.parquet", ".work/fit"])
@pytest.mark.parametrize("restart", [False, True])
def test_no_write_and_no_removal_goes_through_a_link(
    raw: Path, tmp_path: Path, name: str, *, restart: bool
) -> None:
    out, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    prepare(raw, out, **OPTIONS)
    elsewhere.mkdir()
    (elsewhere / "part-00000.parquet").write_bytes(b"theirs")
    (elsewhere / ".C1.lookup.partial").write_bytes(b"theirs")
    path = out / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(elsewhere)
    (out / "manifest.json").unlink()
    before = everything(tmp_path)
    with pytest.raises(OutputError, match="is a link"):
        prepare(raw, out, restart=restart, **OPTIONS)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("task", [b"", b"{", b"\xff", None])
def test_unfinished_work_is_ours_though_its_task_is_damaged(
    raw: Path, tmp_path: Path, expected: dict[str, Any], task: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "data"
    stop_early(raw, out, monkeypatch)
    path = out / ".work" / "task.json"
    path.unlink()
    if task is not None:
        path.write_bytes(task)
    before = everything(out)
    with pytest.raises(OutputError, match=r"task\.json is (damaged|missing).*--restart"):
        prepare(raw, out, **OPTIONS)
    assert everything(out) == before
    prepare(raw, out, restart=True, **OPTIONS)
    assert content(out) == expected


@pytest.mark.parametrize("finished", [False, True])
def test_a_clearing_that_stops_anywhere_is_finished(
    raw: Path,
    tmp_path: Path,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    finished: bool,
) -> None:
    whole = tmp_path / "whole"
    if finished:
        prepare(raw, whole, **OPTIONS)
    else:
        stop_early(raw, whole, monkeypatch)
    stop_at, reached = 1, True
    while reached:
        out = tmp_path / "data"
        shutil.copytree(whole, out, symlinks=True)
        with monkeypatch.context() as patch:
            stop_before_action(patch, stop_at)
            try:
                ownership.clear(DataFolder(out))
                reached = False
            except StoppedError:
                pass
        prepare(raw, out, **OPTIONS)  # without --restart: it was asked for already
        assert content(out) == expected, f"stopped before action {stop_at}"
        shutil.rmtree(out)
        stop_at += 11
    assert stop_at > 40


def stop_before_action(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the given change of a folder, and all after it, raise instead."""
    done = itertools.count(1)

    def stopping(original: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            if next(done) >= number:
                raise StoppedError
            return original(*args, **kwargs)

        return act

    for name in ("rename", "mkdir", "rmdir", "unlink"):
        patch.setattr(Path, name, stopping(getattr(Path, name)))
    patch.setattr(shutil, "rmtree", stopping(shutil.rmtree))
