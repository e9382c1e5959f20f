"""A block's scratch on disk: its columns, coded; what the later stages need in place of raw text.

Per column: the distinct values of the block's rows (``.values``), how often each occurs in its
training rows (``.counts``), and the rows' codes into them (``.rows``), in the order in which the
rows will be written: training rows first, then valid, then test, permuted within each.
"""

import zlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.base.storage import atomic_path
from criteo_stream.prepare.codes import CodeArray, code_type, encode_values
from criteo_stream.prepare.counts import Run, SpilledRun, UInt32Array, from_sortable, sortable
from criteo_stream.prepare.work_records import (
    COUNTS,
    ROWS,
    VALUES,
    BlockRecord,
    Written,
    damaged,
    verify,
)

_ALIGNMENT: Final = 4


@dataclass(frozen=True, kw_only=True)
class CodedColumn:
    """A column of a block, as its scratch holds it."""

    run: Run
    missing: int
    """Missing values in the training rows."""
    codes: CodeArray
    """[rows], in written order."""


def code_column(
    parts: list[pl.Series], order: npt.NDArray[np.int64], training_rows: int
) -> CodedColumn:
    """Code a feature column; empties ``parts`` on the way, to hold its rows only once.

    Args:
        parts: the column as read, int32 or uint32, null where missing.
        order: int64 [rows], the order in which its rows are written.
        training_rows: how many of them, from the first on, are training rows.
    """
    series = pl.concat(parts)
    parts.clear()
    present = series.min()
    if present is None:
        values, codes = np.empty(0, np.uint32), np.zeros(len(series), code_type(0))
    else:
        values, codes = encode_values(_unsigned(series.fill_null(present).to_numpy()))
        if series.null_count():
            codes[series.is_null().to_numpy()] = 0
    codes = codes.take(order)
    counts = np.bincount(codes[:training_rows], minlength=len(values) + 1)
    run = Run(values, counts[1:].astype(np.uint32))
    return CodedColumn(run=run, missing=int(counts[0]), codes=codes)


def _unsigned(values: npt.NDArray[Any]) -> UInt32Array:
    return sortable(values) if values.dtype == np.int32 else values


def sum_of(run: Run) -> int:
    """Sum of an integer column's training rows."""
    return int(from_sortable(run.values).astype(np.int64) @ run.counts.astype(np.int64))


@dataclass(frozen=True, kw_only=True)
class WrittenScratch:
    """What a block's record says of its columns and files."""

    missing: dict[str, int]
    sums: dict[str, int]
    runs: dict[str, int]
    files: dict[str, Written]


def write_scratch(
    folder: Path, name: str, label: npt.NDArray[np.uint8], columns: Iterable[CodedColumn]
) -> WrittenScratch:
    """Write a block's scratch files.

    Args:
        folder: where to.
        name: base of the files' names.
        label: uint8 [rows], in written order.
        columns: I1..I13, C1..C26; each is written before the next one is drawn, so that they need
            not be in memory at once.
    """
    missing, sums, runs = {}, {}, {}
    with ExitStack() as open_files:
        files = {
            suffix: _ScratchFile(open_files, folder / (name + suffix))
            for suffix in (ROWS, VALUES, COUNTS)
        }
        files[ROWS].add(label)
        for column, coded in zip(FEATURE_COLUMNS, columns, strict=True):
            files[ROWS].add(coded.codes)
            files[VALUES].add(coded.run.values)
            files[COUNTS].add(coded.run.counts)
            missing[column], runs[column] = coded.missing, len(coded.run.values)
            if column in INTEGER_COLUMNS:
                sums[column] = sum_of(coded.run)
    written = {suffix: file.written for suffix, file in files.items()}
    return WrittenScratch(missing=missing, sums=sums, runs=runs, files=written)


class _ScratchFile:
    """A scratch file in the making: aligned arrays, one after the other."""

    def __init__(self, open_files: ExitStack, path: Path) -> None:
        aside = open_files.enter_context(atomic_path(path, unique=True))
        self._file = open_files.enter_context(aside.open("wb"))
        self._bytes = self._crc32 = 0

    def add(self, array: npt.NDArray[Any]) -> None:
        for piece in (array.data, bytes(-array.nbytes % _ALIGNMENT)):
            self._file.write(piece)  # unlike tofile, tells why it failed
            self._crc32 = zlib.crc32(piece, self._crc32)
            self._bytes += memoryview(piece).nbytes

    @property
    def written(self) -> Written:
        return Written(bytes=self._bytes, crc32=f"{self._crc32:08x}")


def open_rows(folder: Path, record: BlockRecord) -> dict[str, CodeArray]:
    """A block's rows in written order, mapped from disk: the label, and codes per column.

    Raises:
        OutputError: the scratch file is damaged or missing.
    """
    path = _verified(folder, record, ROWS)
    rows = sum(record.rows)
    types = {LABEL: np.dtype(np.uint8)} | {c: code_type(record.runs[c]) for c in FEATURE_COLUMNS}
    content = np.memmap(path, np.uint8, "r") if rows else np.empty(0, np.uint8)
    columns: dict[str, CodeArray] = {}
    start = 0
    for column, kind in types.items():
        size = rows * kind.itemsize
        columns[column] = content[start : start + size].view(kind)
        start += size + -size % _ALIGNMENT
    if start != record.files[ROWS].bytes:
        raise damaged(folder / f"{record.name}.json", "its runs are not those of its rows")
    return columns


def open_values(folder: Path, record: BlockRecord) -> dict[str, UInt32Array]:
    """Per column, the sorted distinct values that a block's codes mean, mapped from disk.

    Raises:
        OutputError: the scratch file is damaged or missing.
    """
    path = _verified(folder, record, VALUES)
    everything = _mapped(path, 0, sum(record.runs.values()))
    starts = _starts(record)
    return {c: everything[starts[c] :][: record.runs[c]] for c in FEATURE_COLUMNS}


def spilled_runs(folder: Path, records: Sequence[BlockRecord], column: str) -> list[SpilledRun]:
    """The runs of one column in all blocks; call `verify_runs` before."""
    return [SpilledRun(r.runs[column], partial(_open_run, folder, r, column)) for r in records]


def _open_run(folder: Path, record: BlockRecord, column: str) -> Run:
    start, length = _starts(record)[column], record.runs[column]
    files = (folder / (record.name + suffix) for suffix in (VALUES, COUNTS))
    return Run(*(_mapped(path, start, length) for path in files))


def _starts(record: BlockRecord) -> dict[str, int]:
    """Where each column's distinct values begin among those of all columns."""
    ends = accumulate(record.runs[c] for c in FEATURE_COLUMNS)
    return {c: end - record.runs[c] for c, end in zip(FEATURE_COLUMNS, ends, strict=True)}


def _mapped(path: Path, start: int, length: int) -> UInt32Array:
    if not length:
        return np.empty(0, np.uint32)
    return np.memmap(path, np.uint32, "r", 4 * start, (length,))


def verify_runs(folder: Path, record: BlockRecord) -> None:
    """Check a block's runs against its record, before a merge relies on them.

    Raises:
        OutputError: a file is damaged or missing.
    """
    for suffix in (VALUES, COUNTS):
        _verified(folder, record, suffix)


def remove_scratch(folder: Path, record: BlockRecord) -> None:
    """Free a block's scratch once its shards are written; its record stays."""
    for suffix in record.files:
        with suppress(IsADirectoryError):  # what is none of ours goes with the working folder
            (folder / (record.name + suffix)).unlink(missing_ok=True)


def _verified(folder: Path, record: BlockRecord, suffix: str) -> Path:
    path = folder / (record.name + suffix)
    verify(path, record.files[suffix])
    return path
