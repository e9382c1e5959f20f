"""A run copied by tools that know no links is the same run; none is needed to write one."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from criteo_stream import evaluate_run
from criteo_stream.base.errors import RunError
from criteo_stream.runs.checkpoint import Checkpoint
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.pointer import point_link, read_pointer
from tests.support.training import fit, outcome, stop_after

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk", "no_plots")

PLAN: dict[str, Any] = {"epochs": 1, "evaluate_every": 200, "checkpoint_every": 100, "keep": 1}


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("criteo_stream.train.assembly.plot_all", lambda history, folder: [])


def followed(run: Path, to: Path) -> None:
    """As ``cp -rL``, ``scp -r`` and ``zip -r`` do."""
    shutil.copytree(run, to, symlinks=False)


def flattened(run: Path, to: Path) -> None:
    """As archives with links do where there are none: a file with what the link said."""
    shutil.copytree(run, to, symlinks=True)
    for name in ("best", "last"):
        link = to / "checkpoints" / name
        target = str(link.readlink())
        link.unlink()
        link.write_text(target)


def linked(run: Path, to: Path) -> None:
    shutil.copytree(run, to, symlinks=True)


COPIES = [followed, flattened, linked]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_continues_to_the_same_bits(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    copied: Callable[[Path, Path], None],
) -> None:
    fit(data, tmp_path / "whole", **PLAN)
    with monkeypatch.context() as patch:
        stop_after(patch, 13)
        assert not fit(data, tmp_path / "run", **PLAN).finished
    before = evaluate_run(tmp_path / "run", quiet=True).to_dict()
    copied(tmp_path / "run", tmp_path / "copy")
    shutil.rmtree(tmp_path / "run")
    assert evaluate_run(tmp_path / "copy", quiet=True).to_dict() == before
    assert fit(data, tmp_path / "copy", **PLAN).resumed_from == 13
    assert outcome(tmp_path / "copy") == outcome(tmp_path / "whole")
    folder = tmp_path / "copy" / "checkpoints"
    assert (folder / "best").is_symlink()
    assert {p.name for p in folder.iterdir()} == {
        p.name for p in (tmp_path / "whole" / "checkpoints").iterdir()
    }


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_links(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", refuses)
        stop_after(patch, 13)
        fit(data, tmp_path / "run", **PLAN)
    best = tmp_path / "run" / "checkpoints" / "best"
    assert not best.is_symlink()
    assert best.read_text() == f"{read_pointer(best)}\n"
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", refuses)
        fit(data, tmp_path / "run", **PLAN)
    fit(data, tmp_path / "whole", **PLAN)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_another_failure_is_none_of_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "symlink", full)
    with pytest.raises(OSError, match="full"):
        point_link(tmp_path, "last", tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_the_only_copy_of_a_checkpoint_is_kept(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, Checkpoint({}, {"step": step}), best=step == 2)
    (tmp_path / "best").unlink()
    checkpoints.path(2).rename(tmp_path / "best")  # a tool moved it in the link's place
    assert checkpoints.load_best().state["step"] == 2
    checkpoints.rewind(3, 2)
    assert checkpoints.path(2).is_dir()
    assert read_pointer(tmp_path / "best") == checkpoints.path(2).name


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_folder_of_others_is_left(data: Path, tmp_path: Path, name: str) -> None:
    fit(data, tmp_path / "run", **PLAN)
    path = tmp_path / "run" / "checkpoints" / name
    path.unlink()
    path.mkdir()
    (path / "notes.txt").write_text("theirs")
    with pytest.raises(RunError, match="holds something other than a checkpoint: move it away"):
        fit(data, tmp_path / "run", **PLAN)
    assert (path / "notes.txt").read_text() == "theirs"


@pytest.mark.parametrize("text", ["../elsewhere", "/", "", "step-1", "\x1b[2J"])
def test_a_small_file_that_names_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "best").write_text(text)
    with pytest.raises(RunError, match=r"points outside the run|has no best checkpoint yet"):
        CheckpointFolder(tmp_path).load_best()
