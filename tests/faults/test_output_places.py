"""What a command writes is no file that it reads, and replaces nothing of another kind."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from criteo_stream import Trainer, export_run
from criteo_stream.base.errors import CriteoStreamError, OutputError, UsageError
from criteo_stream.cli.demo import run_demo
from criteo_stream.synthetic import write_synthetic
from tests.faults.test_ownership import everything
from tests.support.data_sets import prepare
from tests.support.paths import REPOSITORY
from tests.support.stopped_preparation import OPTIONS, stop_early
from tests.support.training import fit

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def place(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a run, an unfinished set, raw lines and a note."""
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(raw, place / "raw")
    prepare(place / "raw", place / "data", **OPTIONS)
    fit(place / "data", place / "run")
    with pytest.MonkeyPatch.context() as patch:
        stop_early(place / "raw", place / "unfinished", patch)
    shutil.copytree(place / "unfinished" / ".work", place / "begun" / ".work")
    (place / "note").write_text("theirs")
    (place / "linked").mkdir()
    (place / "linked" / "model.json").symlink_to(place / "note")
    return place


def train(place: Path, out: str) -> None:
    Trainer(place / "data", place / out, quiet=True).fit()


def export(place: Path, out: str) -> None:
    export_run(place / "run", "safetensors", place / out)


def preprocess(place: Path, out: str) -> None:
    prepare(place / "raw", place / out, **OPTIONS)


def borrow(place: Path, out: str) -> None:
    options = {**OPTIONS, "fit_from": place / "data"}
    del options["min_count"]
    prepare(place / "raw", place / out, **options)


def demo(place: Path, out: str) -> None:
    run_demo(place / out, 10, force=True, quiet=True)


def lines(place: Path, out: str) -> None:
    write_synthetic(place / out, 10)


@pytest.mark.parametrize(
    ("command", "out", "words"),
    [
        (train, "data", "would write into"),
        (train, "data/run", "would write into"),
        (train, "raw", "is not a run"),
        (train, "unfinished", "is not a run"),
        (train, "begun", "is not a run"),
        (train, "note", "is not a folder"),
        (export, "data", "would write into"),
        (export, "data/new", "would write into"),
        (export, "run", "something other than an export"),
        (export, "run/checkpoints", "something other than an export"),
        (export, "raw", "something other than an export"),
        (export, "unfinished", "something other than an export"),
        (export, "begun", "something other than an export"),
        (export, "linked", "is a link"),
        (export, "note", "is not a folder"),
        (preprocess, "raw", "holds the input"),
        (preprocess, ".", "holds the input"),
        (preprocess, "run", "holds no data set"),
        (preprocess, "note", "is not a folder"),
        (borrow, "data", "is --out itself"),
        (borrow, "data/train", "would write into"),
        (demo, "data", "not from a demo"),
        (demo, "run", "not from a demo"),
        (demo, "raw", "not from a demo"),
        (demo, "note", "is not a folder"),
        (lines, "data", "is a folder"),
    ],
)
def test_is_refused_in_a_sentence(
    place: Path, command: Callable[[Path, str], None], out: str, words: str
) -> None:
    before = everything(place)
    with pytest.raises(CriteoStreamError) as caught:
        command(place, out)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert everything(place) == before


def test_a_demo_removes_only_its_own(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    run_demo(out, 3000, quiet=True)
    (out / "notes.txt").write_text("theirs")
    before = everything(out)
    for force in (False, True):
        with pytest.raises(OutputError, match=r"notes.txt is not of the demo"):
            run_demo(out, 3000, force=force, quiet=True)
    assert everything(out) == before
    (out / "notes.txt").unlink()
    assert run_demo(out, 3000, force=True, quiet=True)[0]["rows"] == 3000


def test_synthetic_lines_and_their_truth_are_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for options in ({"truth": path}, {"probabilities": tmp_path / "." / "x"}):
        with pytest.raises(UsageError, match="two have the same name"):
            write_synthetic(path, 10, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--out", "--truth", "--probabilities"])
def test_the_tool_replaces_no_file(tmp_path: Path, option: str) -> None:
    path = tmp_path / "theirs"
    path.write_text("theirs")
    arguments = [] if option == "--out" else ["--out", str(tmp_path / "new.tsv")]
    done = subprocess.run(
        [sys.executable, "-m", "tools.synthesize", "--rows", "10", *arguments, option, str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, path.read_text()) == (1, "theirs")
    assert done.stderr == f"error: {path} exists: remove it, or choose another name\n"
    assert [found.name for found in tmp_path.iterdir()] == ["theirs"]
