"""An export that is killed or meets a full disk harms nothing, and the next one succeeds."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from criteo_stream import export_run
from criteo_stream.base.errors import OutputError
from criteo_stream.base.storage import locked_folder
from tests.support.processes import Plan, run, run_code, start
from tests.support.training import fit

FORMS = {"onnx": "model.onnx", "safetensors": "model.safetensors", "torch": "model.pt2"}


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    fit(data, folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize(
    ("target", "form", "whole"),
    [
        ("criteo_stream.predict.export:_write_model", "torch", True),
        ("criteo_stream.predict.export:write_json", "safetensors", False),
    ],
)
def test_killed_and_done_again(
    trained: Path, tmp_path: Path, target: str, form: str, *, whole: bool, earlier: bool
) -> None:
    out, expected = tmp_path / "out", tmp_path / "expected"
    export_run(trained, form, expected)
    if earlier:
        export_run(trained, "safetensors", out)
    before = content(out)
    arguments = ["export", str(trained), "--format", form, "--out", str(out)]
    for _ in range(2):  # a second one meets what the first left
        killed = start(arguments, tmp_path / "log", plan=Plan(target=target))
        assert killed.wait() == [-signal.SIGKILL], killed.text()
        if whole:  # of what stood there nothing is touched yet
            assert before.items() <= content(out).items()
        else:
            assert not (out / "model.json").exists()
    export_run(trained, form, out)
    assert content(out).keys() == content(expected).keys()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("blocks", [1, pytest.param(17, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_cannot_grow_is_told_in_a_sentence(
    trained: Path, tmp_path: Path, form: str, blocks: int
) -> None:
    """With a limit of some kilobytes per file, writes fail at several places."""
    before = tmp_path / "out"
    export_run(trained, "safetensors", before)
    kept = content(before)
    code = (
        "import resource; from criteo_stream.cli import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({blocks} << 9,) * 2)\n"
        f"main(['export', {str(trained)!r}, '--format', {form!r}, '--out', 'OUT'])"
    )
    for out in (tmp_path / "new", before):
        done = run_code(code.replace("OUT", str(out)), tmp_path)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("error: a file is larger than is allowed here"), done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert content(before) == kept


def test_a_full_disk(trained: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if os.getuid() or not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip("needs to mount a small disk")
    try:
        for form in FORMS:
            with pytest.raises(OutputError, match="the disk is full"):
                export_run(trained, form, disk / "out")
            assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_one_at_a_time(trained: Path, tmp_path: Path) -> None:
    export_run(trained, "safetensors", tmp_path / "out")
    before = content(tmp_path / "out")
    with (
        locked_folder(tmp_path / "out", AssertionError()),
        pytest.raises(OutputError, match="another process exports into"),
    ):
        export_run(trained, "torch", tmp_path / "out")
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("form", FORMS)
def test_a_home_stays_empty(trained: Path, tmp_path: Path, form: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""}
    arguments = ["export", str(trained), "--format", form, "--out", str(tmp_path / "out")]
    done = run(arguments, env)
    assert done.returncode == 0, done.stderr
    assert not list(home.rglob("*"))
