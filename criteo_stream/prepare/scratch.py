"""A block's scratch on disk: its columns, coded; what the later stages need in place of raw text.

Per column: the distinct values of the block's rows (``.values``), how often each occurs in its
training rows (``.counts``), and the rows' codes into them (``.rows``), in the order in which the
rows will be written: training rows first, then valid, then test, permuted within each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.base.errors import OutputError
from criteo_stream.base.schema import FEATURE_COLUMNS, LABEL
from criteo_stream.base.storage import atomic_path, file_crc32
from criteo_stream.prepare.codes import CodeArray, code_type, encode_values
from criteo_stream.prepare.counts import Run, SpilledRun, UInt32Array, from_sortable, sortable
from criteo_stream.prepare.workspace import BlockRecord

_ROWS: Final = ".rows"
_VALUES: Final = ".values"
_COUNTS: Final = ".counts"
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


def write_scratch(
    folder: Path, name: str, label: npt.NDArray[np.uint8], columns: Sequence[CodedColumn]
) -> dict[str, str]:
    """Write a block's scratch files; the CRC-32 of each by name.

    Args:
        folder: where to.
        name: base of the files' names.
        label: uint8 [rows], in written order.
        columns: I1..I13, C1..C26.
    """
    content: dict[str, list[npt.NDArray[Any]]] = {
        _ROWS: [label, *(column.codes for column in columns)],
        _VALUES: [column.run.values for column in columns],
        _COUNTS: [column.run.counts for column in columns],
    }
    files = {}
    for suffix, arrays in content.items():
        path = folder / (name + suffix)
        with atomic_path(path) as aside, aside.open("wb") as file:
            for array in arrays:
                _write_aligned(array, file)
        files[path.name] = file_crc32(path)
    return files


def _write_aligned(array: npt.NDArray[Any], file: IO[bytes]) -> None:
    file.write(array.data)  # unlike tofile, tells why it failed
    file.write(bytes(-array.nbytes % _ALIGNMENT))


def open_rows(folder: Path, record: BlockRecord) -> dict[str, CodeArray]:
    """A block's rows in written order, mapped from disk: the label, and codes per column.

    Raises:
        OutputError: the scratch file is damaged or missing.
    """
    path = _verified(folder / (record.name + _ROWS), record)
    rows = sum(record.rows)
    types = {LABEL: np.dtype(np.uint8)} | {c: code_type(record.runs[c]) for c in FEATURE_COLUMNS}
    content = np.memmap(path, np.uint8, "r") if rows else np.empty(0, np.uint8)
    columns: dict[str, CodeArray] = {}
    start = 0
    for column, kind in types.items():
        size = rows * kind.itemsize
        columns[column] = content[start : start + size].view(kind)
        start += size + -size % _ALIGNMENT
    return columns


def open_values(folder: Path, record: BlockRecord) -> dict[str, UInt32Array]:
    """Per column, the sorted distinct values that a block's codes mean, mapped from disk.

    Raises:
        OutputError: the scratch file is damaged or missing.
    """
    path = _verified(folder / (record.name + _VALUES), record)
    everything = _mapped(path, 0, sum(record.runs.values()))
    starts = _starts(record)
    return {c: everything[starts[c] :][: record.runs[c]] for c in FEATURE_COLUMNS}


def spilled_runs(folder: Path, records: Sequence[BlockRecord], column: str) -> list[SpilledRun]:
    """The runs of one column in all blocks; call `verify_runs` before."""
    return [SpilledRun(r.runs[column], partial(_open_run, folder, r, column)) for r in records]


def _open_run(folder: Path, record: BlockRecord, column: str) -> Run:
    start, length = _starts(record)[column], record.runs[column]
    files = (folder / (record.name + suffix) for suffix in (_VALUES, _COUNTS))
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
    for suffix in (_VALUES, _COUNTS):
        _verified(folder / (record.name + suffix), record)


def remove_scratch(folder: Path, record: BlockRecord) -> None:
    """Free a block's scratch once its shards are written; its record stays."""
    for name in record.files:
        (folder / name).unlink(missing_ok=True)


def _verified(path: Path, record: BlockRecord) -> Path:
    try:
        found = file_crc32(path)
    except FileNotFoundError:
        found = "none: it is missing"
    if found != record.files[path.name]:
        raise OutputError(
            f"scratch file {path} is damaged (checksum {found}, expected "
            f"{record.files[path.name]}): start over with --restart"
        )
    return path
