"""Work units of the fit: a block of parsed lines becomes scratch on disk.

A unit's scratch is what the later stages need, so that raw text is read once: its rows in the
order in which they will be written (training rows first, then valid, then test, mixed within
each), and the runs of its training rows' values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.errors import OutputError
from criteo_stream.prepare.counts import Run, count_values, sortable
from criteo_stream.prepare.raw import ParsedChunk
from criteo_stream.prepare.splits import TEST, TRAIN, VALID, Split, written_order
from criteo_stream.prepare.workspace import UnitRecord
from criteo_stream.schema import FEATURE_COLUMNS, INTEGER_COLUMNS, ROW_GROUP_ROWS
from criteo_stream.storage import atomic_path, file_crc32

_ROWS: Final = ".rows.arrow"
_VALUES: Final = ".values.npy"
_COUNTS: Final = ".counts.npy"


@dataclass(frozen=True, kw_only=True)
class UnitFacts:
    """What writing a unit's scratch found out, over its training rows but for ``rows``."""

    rows: list[int]
    missing: dict[str, int]
    sums: dict[str, int]
    runs: dict[str, int]
    files: dict[str, str]


def write_unit(
    folder: Path,
    name: str,
    chunks: list[ParsedChunk],
    split: Split,
    *,
    seed: int,
    source_name: str,
    block: int,
    keep_order: bool,
) -> UnitFacts:
    """Write a unit's scratch; empties ``chunks`` on the way, to hold its rows only once."""
    lines = np.concatenate([chunk.line_numbers for chunk in chunks])
    codes = split.codes(lines)
    order = written_order(codes, seed=seed, name=source_name, block=block, keep_order=keep_order)
    frames = [chunk.frame for chunk in chunks]
    chunks.clear()
    columns = {c: [frame[c] for frame in frames] for c in frames[0].columns}
    frames.clear()
    training_rows = int(np.count_nonzero(codes == TRAIN))
    missing, sums, runs = {}, {}, {}
    ordered = []
    for column in list(columns):
        series = pl.concat(columns.pop(column)).gather(order)
        ordered.append(series)
        if column in FEATURE_COLUMNS:
            training = series.head(training_rows)
            missing[column] = training.null_count()
            runs[column] = count_values(_values(training))
        if column in INTEGER_COLUMNS:
            sums[column] = int(training.cast(pl.Int64).sum())
    files = _write_files(folder, name, pl.DataFrame(ordered), runs)
    return UnitFacts(
        rows=[int(np.count_nonzero(codes == code)) for code in (TRAIN, VALID, TEST)],
        missing=missing,
        sums=sums,
        runs={column: len(run.values) for column, run in runs.items()},
        files=files,
    )


def _values(series: pl.Series) -> npt.NDArray[np.uint32]:
    values = series.drop_nulls().to_numpy()
    return sortable(values) if values.dtype == np.int32 else values


def _write_files(
    folder: Path, name: str, rows: pl.DataFrame, runs: dict[str, Run]
) -> dict[str, str]:
    files = {}
    for suffix in (_ROWS, _VALUES, _COUNTS):
        path = folder / (name + suffix)
        with atomic_path(path) as partial:
            if suffix == _ROWS:
                rows.write_ipc(partial, compression="lz4", record_batch_size=ROW_GROUP_ROWS)
            else:
                with partial.open("wb") as file:
                    for run in runs.values():
                        (run.values if suffix == _VALUES else run.counts).tofile(file)
        files[path.name] = file_crc32(path)
    return files


def read_rows(folder: Path, record: UnitRecord) -> pl.DataFrame:
    """A unit's rows in written order: label uint8, I1..I13 int32, C1..C26 uint32, null = missing.

    Raises:
        OutputError: the scratch file is damaged.
    """
    path = folder / (record.name + _ROWS)
    _verify(path, record)
    return pl.read_ipc(path)


def open_runs(folder: Path, records: Sequence[UnitRecord], column: str) -> list[Run]:
    """The runs of one column in all units, mapped from disk."""
    runs = []
    for record in records:
        columns = list(record.runs)
        start = sum(record.runs[c] for c in columns[: columns.index(column)])
        length = record.runs[column]
        if length:
            arrays = (
                np.memmap(folder / (record.name + suffix), np.uint32, "r", 4 * start, (length,))
                for suffix in (_VALUES, _COUNTS)
            )
            runs.append(Run(*arrays))
    return runs


def verify_runs(folder: Path, record: UnitRecord) -> None:
    """Check a unit's runs against its record, before a merge relies on them.

    Raises:
        OutputError: a file is damaged or missing.
    """
    for suffix in (_VALUES, _COUNTS):
        _verify(folder / (record.name + suffix), record)


def remove_rows(folder: Path, record: UnitRecord) -> None:
    """Free a unit's rows once its shards are written."""
    (folder / (record.name + _ROWS)).unlink(missing_ok=True)


def _verify(path: Path, record: UnitRecord) -> None:
    try:
        found = file_crc32(path)
    except FileNotFoundError:
        found = "none: it is missing"
    if found != record.files[path.name]:
        raise OutputError(
            f"scratch file {path} is damaged (checksum {found}, expected "
            f"{record.files[path.name]}): start over with --restart"
        )
