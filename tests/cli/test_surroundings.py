"""Odd surroundings: each is one sentence, or it simply works."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base import threads
from criteo_stream.base.errors import CriteoStreamError
from tests.support import processes
from tests.support.data_sets import prepare
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.training import fit

PROGRAM = f'"{sys.executable}" -m criteo_stream'
OPTIONS = "--embedding-dim 2 --batch-size 256 --quiet"


@pytest.fixture(scope="module")
def raw() -> Iterator[Path]:
    """Raw lines in a folder that any user may read and write in; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield write_raw(Path(folder) / "train.txt", raw_lines(600))


@pytest.fixture(scope="module")
def data(raw: Path) -> Path:
    prepare(raw, raw.parent / "data", min_count=2)
    return raw.parent / "data"


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    fit(data, data.parent / "run")
    return data.parent / "run"


def shell(command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **env},
    )


def assert_one_sentence(done: Any, code: int, words: str) -> None:
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow  # processes that load all anew
@pytest.mark.parametrize(
    ("streams", "code"),
    [("2>&-", 0), ("2>/dev/full", 0), (">&-", 0), (">/dev/full", 1), ("<&- >&- 2>&-", 0)],
)
def test_streams_that_take_nothing(data: Path, tmp_path: Path, streams: str, code: int) -> None:
    done = shell(f"{PROGRAM} train {data} --out {tmp_path}/run {OPTIONS} {streams}")
    assert done.returncode == code, done.stderr
    assert (tmp_path / "run" / "plots" / "auc.png").exists()
    if code:
        assert_one_sentence(done, 1, "the result cannot be printed (No space left on device)")
    else:
        assert not done.stderr


@pytest.mark.slow  # processes that load all anew
@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", ">/dev/full 2>&-"])
def test_an_error_keeps_its_code(tmp_path: Path, streams: str) -> None:
    assert shell(f"{PROGRAM} inspect {tmp_path}/none {streams}").returncode == 1
    assert shell(f"{PROGRAM} inspect --none {streams}").returncode == 2


@pytest.mark.slow  # processes that load all anew
@pytest.mark.parametrize(
    "env",
    [
        {"TMPDIR": "/nonexistent", "MPLBACKEND": "nonsense"},
        {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii"},
    ],
    ids=["no temporary folder", "a plain locale"],
)
def test_odd_variables_are_no_matter(data: Path, tmp_path: Path, env: dict[str, str]) -> None:
    done = shell(f"{PROGRAM} train {data} --out {tmp_path}/dätä {OPTIONS}", **env)
    assert done.returncode == 0, done.stderr
    assert "best at step" in done.stdout


def test_a_locale_that_cannot_read_a_path(data: Path, tmp_path: Path) -> None:
    env = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = shell(f"{PROGRAM} train {data} --out {tmp_path}/dätä {OPTIONS}", **env)
    assert_one_sentence(done, 2, "is not readable in this locale, whose encoding is ascii")


def as_nobody(command: str, most: int) -> "subprocess.CompletedProcess[str]":
    """Without a name, a home and more than so many processes; may read all files."""
    if os.getuid() or not shutil.which("setpriv") or not shutil.which("prlimit"):
        pytest.skip("needs to become another user")
    user = 100_000 + os.getpid()  # one whom no other test counts as
    nobody = f"setpriv --reuid {user} --clear-groups --inh-caps +dac_override "
    return shell(
        f"unset HOME; exec prlimit --nproc={most} {nobody} --ambient-caps +dac_override {command}"
    )


@pytest.mark.slow  # processes that load all anew
def test_a_user_without_a_name_or_home(data: Path, raw: Path) -> None:
    out = raw.parent / "nameless"
    for arguments in (
        "--version",
        f"inspect {raw}",
        f"train {data} --out {out} {OPTIONS}",
        f"evaluate {out} --plots --quiet",
    ):
        done = as_nobody(f"{PROGRAM} {arguments}", 4096)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("most", [3, 20])
def test_few_processes_allowed(data: Path, tmp_path: Path, most: int) -> None:
    done = as_nobody(f"{PROGRAM} train {data} --out {tmp_path}/run {OPTIONS}", most)
    assert_one_sentence(done, 1, "cannot start a thread or process")
    assert "ulimit -u" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # processes that load all anew
def test_just_enough_processes(data: Path, raw: Path, run: Path) -> None:
    """Where the check at the start passes, nothing fails later."""
    folder = raw.parent
    cores = len(os.sched_getaffinity(0))
    most = threads._LIBRARIES * cores + threads._OTHERS + 4
    for arguments in (
        f"preprocess {raw} --out {folder}/data2 --min-count 2 --quiet",
        f"train {data} --out {folder}/run2 {OPTIONS}",
        f"predict {run} {raw} --out {folder}/p.csv --quiet",
    ):
        done = as_nobody(f"{PROGRAM} {arguments}", most)
        assert (done.returncode, done.stderr) == (0, ""), arguments


def test_a_refusal_later_on_is_told_as_well() -> None:
    for refusal in (RuntimeError("can't start new thread"), BlockingIOError(11, os.strerror(11))):
        with pytest.raises(CriteoStreamError, match="allow more"), threads.threads_explained():
            raise refusal
    with pytest.raises(RuntimeError, match="other"), threads.threads_explained():
        raise RuntimeError("other")


SCHEDULER = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "", "LOCAL_RANK": "x"}


def test_a_scheduler_s_variables(data: Path, raw: Path, run: Path, tmp_path: Path) -> None:
    done = processes.run(["train", str(data), "--out", str(tmp_path / "r")], SCHEDULER)
    assert_one_sentence(done, 2, "LOCAL_RANK is 'x'")
    done = processes.run(
        ["train", str(data), "--out", str(tmp_path / "r")], SCHEDULER | {"LOCAL_RANK": "0"}
    )
    assert_one_sentence(done, 2, "WORLD_SIZE is 2 without a MASTER_ADDR")
    assert not (tmp_path / "r").exists()
    for arguments in (
        ["evaluate", run, "--quiet"],
        ["predict", run, raw, "--out", tmp_path / "p.csv", "--quiet"],
        ["inspect", run],
        ["report", run, "--out", tmp_path / "r.html", "--quiet"],
        ["export", run, "--format", "safetensors", "--out", tmp_path / "e"],
        ["preprocess", raw, "--out", tmp_path / "d", "--min-count", 2, "--quiet"],
    ):
        done = processes.run([*map(str, arguments)], SCHEDULER)
        assert (done.returncode, done.stderr) == (0, "")


def test_one_process_is_not_several(raw: Path, run: Path, tmp_path: Path) -> None:
    for arguments in (
        ["predict", run, raw, "--out", tmp_path / "p.csv"],
        ["inspect", run],
        ["report", run, "--out", tmp_path / "r.html"],
        ["export", run, "--format", "safetensors", "--out", tmp_path / "e"],
        ["preprocess", raw, "--out", tmp_path / "d"],
        ["demo", "--out", tmp_path / "demo"],
    ):
        ranks = processes.start([*map(str, arguments)], tmp_path / "logs", ranks=2)
        assert ranks.wait() == [2, 0]
        assert ranks.text(0) == (
            f"error: {arguments[0]} is one process, not 2: run it without torchrun\n"
        )
        assert ranks.text(1) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
