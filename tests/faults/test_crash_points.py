"""SIGKILL before any single call that changes a file: the same command again gives the same bytes.

A few points of each command run in the suite, many in `make faults`.
"""

import gzip
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.crash_points import check_crash_points
from tests.support.data_sets import content, prepare
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.training import as_flags, fit, outcome

FEW, MANY = 2, 30
PREPARE = ["--max-bad-rows", "5", "--memory", "1GB", "--workers", "2", "--quiet"]


def chosen(number: int, count: int, *, seed: int) -> Sequence[int]:
    """Some of so many points, the last one among them."""
    return sorted({count, *random.Random(seed).sample(range(1, count + 1), min(number, count))})


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw logs, plain and compressed, the set made of them, and a run on it."""
    folder = tmp_path_factory.mktemp("made")
    lines = raw_lines(1500, seed=4)
    lines[500] = b"a malformed line"
    (folder / "raw").mkdir()
    for day in range(3):
        write_raw(folder / "raw" / f"day_{day}", lines[500 * day : 500 * (day + 1)])
    shutil.copytree(folder / "raw", folder / "gz")
    compressed = gzip.compress((folder / "gz" / "day_1").read_bytes(), mtime=0)
    (folder / "gz" / "day_1.gz").write_bytes(compressed)
    (folder / "gz" / "day_1").unlink()
    prepare(folder / "raw", folder / "data", max_bad_rows=5, min_count=2)
    fit(folder / "data", folder / "run", batch_size=256)
    return folder


def commands(made: Path) -> dict[str, dict[str, Any]]:
    """Arguments of each command and what must come of it."""

    def copied(place: Path) -> None:
        shutil.copytree(made / "data", place / "data")

    def of_set(place: Path) -> Any:
        return content(place / "data")

    def of_run(place: Path) -> Any:
        return outcome(place / "run")

    def of_days(place: Path) -> Any:
        out = place / "days"
        last = [outcome(path) for path in sorted((out / "runs").iterdir())]
        sets = {path.name: content(path) for path in sorted((out / "sets").iterdir())}
        names = sorted(path.name for path in out.iterdir())
        return (out / "days.jsonl").read_bytes(), last, sets, names

    flags = as_flags(epochs=2, batch_size=64, evaluate_every=700, checkpoint_every=400)
    train = {
        "arguments": ["train", str(made / "data"), "--out", "{}/run", *flags],
        "outcome": of_run,
    }

    def prepare_of(raw: str, *more: str) -> dict[str, Any]:
        return {
            "arguments": ["preprocess", str(made / raw), "--out", "{}/data", *more, *PREPARE],
            "outcome": of_set,
        }

    return {
        "preprocess": prepare_of("raw"),
        "preprocess .gz": prepare_of("gz"),
        "preprocess twice": prepare_of("raw") | {"deaths": 2},
        "--restart": prepare_of("raw", "--restart") | {"begin": copied},
        "--keep-negatives": prepare_of("raw", "--keep-negatives", "0.3"),
        "--fit-from": prepare_of("raw", "--fit-from", str(made / "data")),
        "--extend": prepare_of("gz", "--extend", str(made / "data")),
        "progressive": {
            "arguments": [
                "progressive", str(made / "raw"), "--out", "{}/days", "--max-bad-rows", "5",
                "--min-count", "2", "--memory", "1GB", "--embedding-dim", "4", "--batch-size", "64",
                "--threads", "1", "--keep", "1", "--quiet",
            ],
            "outcome": of_days,
        },
        "train": train,
        "train twice": train | {"deaths": 2},
        "train on two ranks": train | {"ranks": 2},
        "export": {
            "arguments": [
                "export", str(made / "run"), "--format", "safetensors", "--out", "{}/model",
            ],
            "outcome": files,
        },
        "predict": {
            "arguments": [
                "predict", str(made / "run"), str(made / "raw"), "--max-bad-rows", "5",
                "--quiet", "--out", "{}/scores.parquet",
            ],
            "outcome": files,
        },
        "report": {
            "arguments": ["report", str(made / "run"), "--quiet", "--out", "{}/report.html"],
            "outcome": files,
        },
    }  # fmt: skip


NAMES = (
    "preprocess", "preprocess .gz", "preprocess twice", "--restart", "--fit-from", "--extend",
    "--keep-negatives", "progressive", "train",
    "train twice", "train on two ranks", "export", "predict", "report",
)  # fmt: skip


def check(name: str, made: Path, folder: Path, choose: Callable[[int], Sequence[int]]) -> int:
    return check_crash_points(folder=folder, choose=choose, **commands(made)[name])


@pytest.mark.parametrize(
    "name", ["preprocess", "--restart", "--extend", "train", "export", "predict"]
)
def test_some_crash_points(name: str, made: Path, tmp_path: Path) -> None:
    assert check(name, made, tmp_path, partial(chosen, FEW, seed=1)) >= FEW


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_crash_points(name: str, made: Path, tmp_path: Path) -> None:
    assert check(name, made, tmp_path, partial(chosen, MANY, seed=2)) > 4
