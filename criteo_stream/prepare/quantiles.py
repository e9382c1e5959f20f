"""Integers to uniform quantiles in [0, 1], from exact counts.

q(x) = (L + R − 1) / 2 / (n − 1), where L values are below x and R are not above it among n
fitted values; the minimum maps to 0, the maximum to 1, what lies outside is clipped. That is
scikit-learn's ``QuantileTransformer(n_quantiles=n, subsample=None)`` on the fitted values.

Up to `EXACT_VALUES` distinct values the table is exact. Beyond it only values are kept whose
rows cross a line of an even grid of ranks; the error this can make is known and stated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.schema import INTEGER_COLUMNS
from criteo_stream.base.storage import atomic_path
from criteo_stream.data.parquet import as_numpy, read_parquet
from criteo_stream.prepare.counts import Int64Array, UInt32Array, from_sortable

EXACT_VALUES: Final = 1 << 20
"""Distinct values up to which a table is exact."""

_DENSE_VALUES: Final = 1 << 16


@dataclass(frozen=True)
class QuantileTable:
    """The transform of one column: ``values`` ascending, and ranks among the fitted rows."""

    values: Int64Array
    below: Int64Array
    """Rows below each value (L)."""
    up_to: Int64Array
    """Rows not above each value (R)."""

    @property
    def arrays(self) -> tuple[Int64Array, Int64Array, Int64Array]:
        """All that it holds."""
        return self.values, self.below, self.up_to

    @property
    def rows(self) -> int:
        """Fitted rows that have a value (n)."""
        return int(self.up_to[-1]) if len(self.up_to) else 0

    @property
    def rank_error(self) -> float:
        """Largest error of a quantile; 0 where every distinct value is in the table."""
        if len(self.values) < 2:
            return 0.0
        return float((self.below[1:] - self.up_to[:-1]).max()) / 2 / max(1, self.rows - 1)

    def transform(self, x: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
        """Quantiles, float64 in [0, 1], of values of any shape [n]; 0.5 when nothing was fitted."""
        if not len(self.values):
            return np.full(len(x), 0.5)
        place = np.searchsorted(self.values, x, side="right") - 1
        inside = np.maximum(place, 0)
        after = np.minimum(inside + 1, len(self.values) - 1)
        exact = self.values[inside] == x
        # Twice the mid rank: L + R of a known value; between two, the rows up to either side.
        twice = self.up_to[inside] + np.where(exact, self.below[inside], self.below[after])
        q = (twice - 1) / 2 / max(1, self.rows - 1)
        q[x >= self.values[-1]] = 1.0
        q[x <= self.values[0]] = 0.0
        return np.clip(q, 0.0, 1.0)


def build_table(
    parts: Iterable[tuple[UInt32Array, Int64Array]], rows: int, exact_values: int = EXACT_VALUES
) -> QuantileTable:
    """Build a table from counts of `sortable` values, ascending over all parts.

    Args:
        parts: distinct values and their counts.
        rows: sum of all counts.
        exact_values: distinct values up to which the table is exact; beyond it about as many
            grid lines are used, so that the rank error is at most 0.5 / ``exact_values``.
    """
    exact: list[tuple[Int64Array, Int64Array, Int64Array]] = []
    grid: list[tuple[Int64Array, Int64Array, Int64Array]] = []
    distinct = seen = 0
    for sortable_values, counts in parts:
        values = from_sortable(sortable_values).astype(np.int64)
        up_to = seen + np.cumsum(counts)
        part = (values, up_to - counts, up_to)
        distinct += len(values)
        seen = int(up_to[-1]) if len(up_to) else seen
        grid.append(_on_grid(part, rows, exact_values))
        exact = [*exact, part] if distinct <= exact_values else []
    assert seen == rows, f"counts add up to {seen}, expected {rows}"
    chosen = exact if distinct <= exact_values else grid
    if not chosen:
        chosen = [(np.empty(0, np.int64),) * 3]
    return QuantileTable(*(np.concatenate(columns) for columns in zip(*chosen, strict=True)))


def _on_grid(
    part: tuple[Int64Array, Int64Array, Int64Array], rows: int, lines: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Keep values whose rows cross a grid line of ranks, and the first and last value of all."""
    values, below, up_to = part
    step = max(1, rows // lines)
    kept = (below // step != up_to // step) | (below == 0) | (up_to == rows)
    return values[kept], below[kept], up_to[kept]


class FastTransform:
    """A table's transform to float32, with the common small integers in a dense array."""

    def __init__(self, table: QuantileTable) -> None:
        self._table = table
        self._low = int(table.values[0]) if len(table.values) else 0
        high = min(int(table.values[-1]) + 1 if len(table.values) else 1, self._low + _DENSE_VALUES)
        self._dense = table.transform(np.arange(self._low, high)).astype(np.float32)

    def __call__(self, x: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """Quantiles float32 [n] of int32 [n]; the same values as `QuantileTable.transform`."""
        # As unsigned, what is below the range wraps to beyond its end.
        place = (x.astype(np.int64) - self._low).astype(np.uint64)
        q = self._dense.take(np.minimum(place, len(self._dense) - 1).astype(np.int64))
        far = np.flatnonzero(place >= len(self._dense))
        if len(far):
            q[far] = self._table.transform(x[far]).astype(np.float32)
        return q


_SCHEMA: Final = pa.schema(
    [
        pa.field("column", pa.string(), nullable=False),
        pa.field("value", pa.list_(pa.int64()), nullable=False),
        pa.field("rows_below", pa.list_(pa.int64()), nullable=False),
        pa.field("rows_up_to", pa.list_(pa.int64()), nullable=False),
        pa.field("minimum", pa.int64()),
        pa.field("maximum", pa.int64()),
        pa.field("mean", pa.float64()),
        pa.field("missing", pa.int64(), nullable=False),
        pa.field("rank_error", pa.float64(), nullable=False),
    ]
)

_ASCENDING: Final = tuple(f"{c}.list.element" for c in ("value", "rows_below", "rows_up_to"))
_ARRAYS: Final = ("values", "below", "up_to")
_ENTRY_BYTES: Final = 8 * len(_ARRAYS)


@dataclass(frozen=True, kw_only=True)
class FittedColumn:
    """A column's table and what else the fit knows of it."""

    table: QuantileTable
    mean: float | None
    missing: int


def write_tables(path: Path, columns: dict[str, FittedColumn]) -> None:
    """Write the tables of all integer columns as Parquet, one row per column.

    They are put together in a mapped file, which the kernel may drop from memory: together, large
    tables take hundreds of megabytes.
    """
    tables = [fitted.table for fitted in columns.values()]
    ends = np.cumsum([0, *(len(table.values) for table in tables)])
    with atomic_path(path) as partial, TemporaryFile(dir=path.parent) as together:
        for name in _ARRAYS:
            for table in tables:
                together.write(getattr(table, name).data)
        together.flush()
        content = _mapped(together, (len(_ARRAYS), int(ends[-1])))
        offsets = pa.array(ends, pa.int32())
        lists = [
            pa.ListArray.from_arrays(offsets, pa.array(array), type=_SCHEMA.field("value").type)
            for array in content
        ]
        facts = [
            [int(t.values[0]) if len(t.values) else None for t in tables],
            [int(t.values[-1]) if len(t.values) else None for t in tables],
            [fitted.mean for fitted in columns.values()],
            [fitted.missing for fitted in columns.values()],
            [table.rank_error for table in tables],
        ]
        pq.write_table(
            pa.table([list(columns), *lists, *facts], schema=_SCHEMA),
            partial,
            use_dictionary=False,  # all values differ
            column_encoding=dict.fromkeys(_ASCENDING, "DELTA_BINARY_PACKED"),
        )


def read_tables(path: Path, columns: Sequence[str] = INTEGER_COLUMNS) -> dict[str, FittedColumn]:
    """Read what `write_tables` wrote, and hold each table against what a table must be.

    Args:
        path: the file.
        columns: those that it must hold, in their order.

    Raises:
        DataSetError: it is missing or no Parquet file, holds other columns, or a table that no fit
            gives.
    """
    try:
        table = read_parquet(path, _SCHEMA)
        found = table["column"].to_pylist()
        if found != list(columns):
            raise ValueError(f"it holds the columns {found}")
        return {column: _checked_column(table, i) for i, column in enumerate(columns)}
    except ValueError as error:
        raise DataSetError(
            f"{path} is not what a fit writes ({error}): restore it or prepare the set again"
        ) from None


def _checked_column(table: pa.Table, row: int) -> FittedColumn:
    """One column's table.

    Raises:
        ValueError: it is not one.
    """
    values, below, up_to = (
        as_numpy(table[name][row].values) for name in ("value", "rows_below", "rows_up_to")
    )
    mean, missing = table["mean"][row].as_py(), table["missing"][row].as_py()
    column = table["column"][row].as_py()
    if not len(values) == len(below) == len(up_to):
        raise ValueError(f"{column} has lists of unequal length")
    # Of a list with nulls NumPy makes floats.
    if any(len(part) and part.dtype != np.int64 for part in (values, below, up_to)):
        raise ValueError(f"{column} has gaps")
    values, below, up_to = (part.astype(np.int64) for part in (values, below, up_to))
    if len(values) and not (
        below[0] == 0
        and (below < up_to).all()
        and (up_to[:-1] <= below[1:]).all()
        and (values[:-1] < values[1:]).all()
    ):
        raise ValueError(f"{column} does not rise")
    least, most = (int(values[0]), int(values[-1])) if len(values) else (None, None)
    if (table["minimum"][row].as_py(), table["maximum"][row].as_py()) != (least, most):
        raise ValueError(f"{column} has another minimum or maximum than its table")
    if missing < 0 or (mean is None) != (not len(values)):
        raise ValueError(f"{column} has no mean, or less than no missing rows")
    if mean is not None and not values[0] <= mean <= values[-1]:
        raise ValueError(f"{column} has a mean outside its range")
    return FittedColumn(table=QuantileTable(values, below, up_to), mean=mean, missing=missing)


def write_table(path: Path, table: QuantileTable) -> None:
    """Write a table for `open_table`."""
    with atomic_path(path, unique=True) as partial, partial.open("wb") as file:
        for name in _ARRAYS:
            file.write(getattr(table, name).data)


def open_table(path: Path) -> QuantileTable:
    """Map what `write_table` wrote; mapped pages belong to the kernel's cache, not the process."""
    entries = path.stat().st_size // _ENTRY_BYTES
    return QuantileTable(*_mapped(path, (len(_ARRAYS), entries)))


def _mapped(file: Path | IO[bytes], shape: tuple[int, int]) -> Int64Array:
    if not shape[1]:
        return np.empty(shape, np.int64)
    return np.asarray(np.memmap(file, np.int64, "r", shape=shape))
