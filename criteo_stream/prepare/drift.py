"""How far new rows of an integer column are from the table that they are encoded with."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from criteo_stream.prepare.counts import Int64Array, UInt32Array, from_sortable
from criteo_stream.prepare.quantiles import QuantileTable


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Of one column."""

    outside: int
    """Rows whose value is below the table's least or above its largest."""
    shifted: float
    """sup |F_new − F_table|, the statistic of Kolmogorov and Smirnov, in [0, 1]; 0 without rows."""


def drift(
    table: QuantileTable, parts: Iterable[tuple[UInt32Array, Int64Array]], rows: int
) -> Drift:
    """Compare a table with new rows.

    Both distributions are steps, and they differ most at a value of the new rows, or just below it.

    Args:
        table: of the rows before.
        parts: `sortable` values of the new rows and their counts, ascending over all parts.
        rows: sum of all counts.
    """
    outside = seen = 0
    shifted = 0.0
    for sortable_values, counts in parts:
        if not len(counts):
            continue
        values = from_sortable(sortable_values).astype(np.int64)
        up_to = seen + np.cumsum(counts)
        if table.rows:
            outside += int(counts[(values < table.values[0]) | (values > table.values[-1])].sum())
            below_before, up_to_before = _shares(table, values)
            shifted = max(
                shifted,
                float(np.abs((up_to - counts) / rows - below_before).max()),
                float(np.abs(up_to / rows - up_to_before).max()),
            )
        else:
            outside += int(counts.sum())
        seen = int(up_to[-1])
    if seen and not table.rows:
        shifted = 1.0
    return Drift(outside=outside, shifted=min(1.0, shifted))


def _shares(
    table: QuantileTable, values: Int64Array
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """Shares of the table's rows below each value, and not above it."""
    place = np.searchsorted(table.values, values, side="right") - 1
    inside = np.maximum(place, 0)
    up_to = np.where(place < 0, 0, table.up_to[inside])
    is_known = (place >= 0) & (table.values[inside] == values)
    below = np.where(is_known, table.below[inside], up_to)
    return below / table.rows, up_to / table.rows
