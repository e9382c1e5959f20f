"""The whole path where nothing is there that Linux alone has, as on macOS: the same results."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from criteo_stream.base.schema import FEATURE_COLUMNS
from criteo_stream.data.manifest import Manifest
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.without_linux import HIDDEN, environment

ABSENT = """
import os, sys, ctypes, fcntl, multiprocessing, socket, pathlib
assert not hasattr(os, "sched_getaffinity") and not hasattr(os, "posix_fallocate")
assert not hasattr(socket, "TCP_KEEPIDLE") and not hasattr(ctypes.CDLL(None), "mallopt")
assert hasattr(fcntl, "F_FULLFSYNC") and multiprocessing.get_start_method() == "spawn"
assert not any(map(os.path.exists, sys.argv[1:]))
assert not any(pathlib.Path(path).is_dir() for path in sys.argv[1:])
try:
    open("/proc/self/stat")
except FileNotFoundError:
    sys.exit(7)
"""


def run(environment: dict[str, str], *arguments: str | Path) -> dict[str, Any]:
    # A process begins with the largest size of the one that starts it: a shell is small.
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-W", "error::RuntimeWarning",
         "-m", "criteo_stream", *map(str, arguments), "--json"],
        env=environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(figures, dict)
    return figures


def path_through(raw: Path, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Prepare, train, evaluate and predict; what each said."""
    data, trained = folder / "data", folder / "run"
    return {
        "preprocess": run(environment, "preprocess", raw, "--out", data, "--min-count", "2"),
        "train": run(environment, "train", data, "--out", trained, "--epochs", "1",
                     "--threads", "1"),
        "evaluate": run(environment, "evaluate", trained, "--split", "valid"),
        "predict": run(environment, "predict", trained, raw, "--out", folder / "p.parquet"),
    }  # fmt: skip


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path / "site")


def test_the_pretence_holds(elsewhere: dict[str, str]) -> None:
    """Or the test below could not fail."""
    done = subprocess.run([sys.executable, "-c", ABSENT, *HIDDEN], env=elsewhere, check=False)
    assert done.returncode == 7
    assert hasattr(os, "sched_getaffinity"), "and it is of that process alone"


def test_the_whole_path_gives_the_same_results(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    raw = write_raw(tmp_path / "log.tsv", raw_lines(3000, seed=3))
    here = {**elsewhere, "PYTHONPATH": elsewhere["PYTHONPATH"].split(os.pathsep, 1)[1]}
    found, expected = (
        path_through(raw, tmp_path / name, variables)
        for name, variables in (("elsewhere", elsewhere), ("here", here))
    )
    ours, theirs = (Manifest.read(tmp_path / name / "data") for name in ("elsewhere", "here"))
    assert ours.fingerprint == theirs.fingerprint
    assert set(ours.fit_digests) == set(FEATURE_COLUMNS)
    assert found["evaluate"] == expected["evaluate"]
    predicted = [pl.read_parquet(tmp_path / name / "p.parquet") for name in ("elsewhere", "here")]
    assert predicted[0].equals(predicted[1])
    inspected = run(elsewhere, "inspect", tmp_path / "elsewhere" / "data", "--verify")
    assert inspected["verified"] == len(ours.files())
    for command in ("preprocess", "train"):
        # The resident size instead of the anonymous: more, and of the same order.
        mine, true = (said[command]["peak_memory_bytes"] for said in (found, expected))
        assert true / 2 < mine < 10 * true
