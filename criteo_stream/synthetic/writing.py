"""Synthetic rows as files: raw lines, their truth, each row's true probability."""

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from criteo_stream.base.errors import UsageError
from criteo_stream.base.storage import atomic_path, make_folder, write_json
from criteo_stream.synthetic.drift import MOST_DAYS, Day
from criteo_stream.synthetic.rows import Chunk, generate
from criteo_stream.synthetic.teacher import TEACHER_NAME
from criteo_stream.synthetic.truth import TruthSums

STDOUT: Final = Path("-")
LAYOUTS: Final = ("kaggle", "terabyte")

_PROBABILITY_SCHEMA: Final = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),
    ]
)


def write_synthetic(
    path: Path,
    rows: int,
    seed: int = 0,
    *,
    start: int = 0,
    layout: str = "kaggle",
    labelled: bool = True,
    probabilities: Path | None = None,
    truth: Path | None = None,
    day: Day | None = None,
    sums: TruthSums | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, str | int | float | None]:
    """Write a synthetic log, and what is the best that a model can reach on it.

    Every file is whole or absent. Memory does not grow with the rows.

    Args:
        path: the raw lines; compressed by its suffix ``.gz`` or ``.zst``; ``-`` is stdout.
        rows: how many.
        seed: chooses the rows, 0 … 2^64 − 1; the teacher is the same for every seed.
        start: number of the first row, in the endless log that the seed means.
        layout: ``kaggle`` or ``terabyte``: the same 40 columns, but the second always has labels.
        labelled: with the label column; without it the truth is still that of the hidden labels.
        probabilities: Parquet file with each row's true click probability: ``row`` int64 from 0
            on (the line in this file), ``probability`` float32.
        truth: JSON file with the dict that is returned.
        day: whose rows they are; see `drift`.
        sums: takes in the rows too, to add up files.
        progress: called with the number of rows of every chunk written.

    Returns:
        ``file``, ``teacher`` (name of the formula), ``seed``, ``start``, ``layout``, ``labelled``,
        and the figures of `TruthSums`: ``rows``, ``positives``, ``click_rate``, ``auc``,
        ``log_loss``, ``expected_click_rate``, ``expected_log_loss``.

    Raises:
        UsageError: a number is out of its range, a folder does not exist, or an unlabelled
            ``terabyte`` file is asked for.
        OutputError: the disk is full.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout {layout!r} is unknown: choose {' or '.join(LAYOUTS)}")
    if layout == "terabyte" and not labelled:
        raise UsageError("terabyte files always have labels: use the layout kaggle without them")
    targets = [target for target in (path, probabilities, truth) if target is not None]
    if len({target.resolve() for target in targets}) < len(targets):
        raise UsageError("lines, probabilities and truth need a file each: two have the same name")
    for target in targets:
        if target.is_dir():
            raise UsageError(f"{target} is a folder: name a file")
        if not target.parent.is_dir():
            raise UsageError(f"cannot write {target}: the folder {target.parent} does not exist")
    own = TruthSums()
    with (
        _opened(path) as file,
        _probability_writer(probabilities) as write_probabilities,
    ):
        for chunk in generate(rows, seed, start, labelled=labelled, day=day):
            file.write(chunk.lines)
            write_probabilities(chunk)
            for counted in (own, sums) if sums else (own,):
                counted.add(chunk)
            if progress:
                progress(len(chunk.labels))
    result = {
        "file": path.name,
        "teacher": TEACHER_NAME,
        "seed": seed,
        "start": start,
        "layout": layout,
        "labelled": labelled,
        **own.figures(),
    }
    if day is not None:
        result |= {"day": day.number, "drift": day.drift}
    if truth:
        write_json(truth, result)
    return result


def write_days(
    folder: Path,
    days: int,
    rows: int,
    seed: int = 0,
    *,
    drift: float = 0.1,
    suffix: str = "",
    truth: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, object]:
    """Write days of a log whose values come and go, ``folder/day_0`` and so on; see `drift`.

    A day depends on the seed, the drift and its number alone.

    Args:
        folder: for the days; made if it does not exist.
        days: how many.
        rows: of each.
        seed: chooses the rows, as for `write_synthetic`.
        drift: share of the values that begin to be replaced per day, 0 to below 1.
        suffix: of the files: nothing, ``.gz`` or ``.zst``.
        truth: JSON file with the dict that is returned.
        progress: called with the number of rows of every chunk written.

    Returns:
        ``days``, for each what `write_synthetic` returns, and ``all``, the figures of all rows.

    Raises:
        UsageError: as `write_synthetic`, or the number of days or the drift is out of its range.
        OutputError: the disk is full.
    """
    if not 1 <= days <= MOST_DAYS:
        raise UsageError(f"the number of days is {days}, expected 1 to {MOST_DAYS}")
    made = [Day(number, drift) for number in range(days)]
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the days")
    make_folder(folder)
    everything = TruthSums()
    found = [
        write_synthetic(
            folder / f"day_{day.number}{suffix}", rows, seed, day=day, sums=everything,
            progress=progress,
        )
        for day in made
    ]  # fmt: skip
    result: dict[str, object] = {"days": found, "all": everything.figures()}
    if truth:
        write_json(truth, result)
    return result


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == STDOUT:
        yield sys.stdout.buffer
        return
    with (
        atomic_path(path) as partial,
        partial.open("wb") as file,
        _compressed(file, path.suffix) as stream,
    ):
        yield stream


def _compressed(file: IO[bytes], suffix: str) -> AbstractContextManager[IO[bytes]]:
    """The file, or a compressor before it; the same rows give the same bytes."""
    if suffix == ".gz":
        stream = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
        return cast(AbstractContextManager[IO[bytes]], stream)
    if suffix == ".zst":
        stream = pa.CompressedOutputStream(file, "zstd")
        return cast(AbstractContextManager[IO[bytes]], stream)
    return nullcontext(file)


@contextmanager
def _probability_writer(path: Path | None) -> Iterator[Callable[[Chunk], None]]:
    if path is None:
        yield lambda _: None
        return
    first = 0
    with atomic_path(path) as partial, pq.ParquetWriter(partial, _PROBABILITY_SCHEMA) as writer:

        def write(chunk: Chunk) -> None:
            nonlocal first
            row = np.arange(first, first + len(chunk.labels))
            values = [row, chunk.probabilities.astype(np.float32)]
            writer.write_table(pa.table(values, schema=_PROBABILITY_SCHEMA))
            first += len(row)

        yield write
