"""Preparations that stop at a certain write, as if the process had ended there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base import storage
from criteo_stream.data.folder import DataFolder
from criteo_stream.prepare.workspace import Workspace
from tests.support.data_sets import prepare

OPTIONS: dict[str, Any] = {"block_rows": 500, "min_count": 2}


class StoppedError(BaseException):
    """Stands for the end of the process at a certain write."""


@contextmanager
def stopping_at(
    monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException, *, before: bool = True
) -> Iterator[list[int]]:
    """Raise at the given atomic write, before its content is synced or after its rename."""
    lock, count = threading.Lock(), [0]
    step = "sync_file" if before else "sync_folder"
    real = getattr(storage, step)

    def counting(path: Path) -> None:
        with lock:
            count[0] += 1
            now = count[0]
        if now >= number:  # once stopped, nothing goes on
            raise error
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(storage, step, counting)
        yield count


def stop_early(raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch, at: int = 60) -> None:
    """Leave a run unfinished, with some blocks read."""
    with (
        stopping_at(monkeypatch, at, StoppedError()),
        pytest.raises(StoppedError),
    ):
        prepare(raw, out, **OPTIONS)
    assert list(Workspace(out).blocks.glob("*.json"))


def no_halves(out: Path) -> None:
    """Whatever bears a final name is whole: manifest and shards are readable, or absent."""
    assert not DataFolder(out).manifest.exists()
    import pyarrow.parquet as pq

    for path in out.rglob("*.parquet"):
        if not path.name.startswith("."):
            pq.read_table(path)
