"""Raw values to the inputs of a model, for one row or many: a fit in memory, prepared for look-ups.

All columns are looked up at once: a key is a column's number above a value's 32 bits, so one search
in one sorted array finds the values of every column. That takes 12 bytes a known value, less than a
hash table, and a row needs two searches instead of 39 look-ups.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID, MISSING_ID, OOV_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.counts import Int64Array
from criteo_stream.prepare.quantiles import QuantileTable
from criteo_stream.prepare.read_fit import read_fit_tables, verify_fit
from criteo_stream.prepare.read_vocabulary import read_vocabulary
from criteo_stream.prepare.value_ids import Int32Array

MISSING_VALUE: Final = 1 << 40
"""In the place of a missing value; no integer and no hash of 32 bits is as large."""

Float32Array = npt.NDArray[np.float32]
_NUMBERS: Final = len(INTEGER_COLUMNS)
_LOWEST: Final = -(1 << 31)
_BEYOND_ALL: Final = np.iinfo(np.int64).max
"""A key that no value has: a search ends there at the latest."""


def _first_keys(columns: int) -> Int64Array:
    return np.arange(columns, dtype=np.int64) << 32


@dataclass(frozen=True)
class _Quantiles:
    """The tables of all integer columns, end to end."""

    keys: Int64Array
    """[entries], of the tables' values, ascending."""
    at: Float32Array
    """[entries], the quantile of each value."""
    above: Float32Array
    """[entries], the quantile between it and the next value."""
    lowest: Int64Array
    """[columns], the key of each column's smallest value."""

    def __call__(self, values: Int64Array) -> Float32Array:
        """Quantiles float32 [n, columns] of int32 values as int64 [n, columns]."""
        keys = np.maximum(values - _LOWEST + _first_keys(values.shape[1]), self.lowest)
        places = self.keys.searchsorted(keys, "right") - 1
        quantiles: Float32Array = self.at[places]
        between = self.keys[places] != keys
        quantiles[between] = self.above[places[between]]
        return quantiles


def _join_tables(tables: list[QuantileTable]) -> _Quantiles:
    firsts = _first_keys(len(tables))
    # A column without any value has one that is at .5, as is all that is above it.
    values = [t.values if len(t.values) else np.array([_LOWEST], np.int64) for t in tables]
    return _Quantiles(
        keys=np.concatenate([v - _LOWEST + first for v, first in zip(values, firsts, strict=True)]),
        at=np.concatenate([t.transform(v) for t, v in zip(tables, values, strict=True)]).astype(
            np.float32
        ),
        above=np.concatenate(
            [t.transform(v + 1) for t, v in zip(tables, values, strict=True)]
        ).astype(np.float32),
        lowest=np.array([v[0] - _LOWEST for v in values]) + firsts,
    )


@dataclass(frozen=True)
class _Ids:
    """The vocabularies of all categorical columns, end to end."""

    keys: Int64Array
    """[known + 1], ascending; the last is beyond all values."""
    ids: Int32Array
    """[known + 1], local to their column; the last is that of unknown values."""

    def __call__(self, values: Int64Array) -> Int32Array:
        """Ids int32 [n, columns] of uint32 values as int64 [n, columns]."""
        keys = values + _first_keys(values.shape[1])
        places = self.keys.searchsorted(keys)
        ids: Int32Array = self.ids[places]
        ids[self.keys[places] != keys] = OOV_ID
        return ids


def _join_vocabularies(data: Path, manifest: Manifest) -> _Ids:
    known = sum(manifest.categories) - FIRST_KNOWN_ID * len(CATEGORICAL_COLUMNS)
    keys = np.full(known + 1, _BEYOND_ALL, np.int64)
    ids = np.full(known + 1, OOV_ID, np.int32)
    folder, start = DataFolder(data), 0
    sizes = zip(CATEGORICAL_COLUMNS, manifest.categories, strict=True)
    for number, (column, size) in enumerate(sizes):
        values, values_ids = read_vocabulary(
            folder.vocabulary(column), size, is_extended=manifest.extension is not None
        )
        order, end = np.argsort(values), start + len(values)
        keys[start:end] = values[order]
        keys[start:end] += number << 32
        ids[start:end] = values_ids[order]
        start = end
    return _Ids(keys, ids)


class RowEncoder:
    """A fit in memory; gives what `apply_fit.Encoder` gives, to the bit.

    Args:
        data: folder of a finished set.
        manifest: of the set.

    Raises:
        DataSetError: a vocabulary or the quantile tables are missing or damaged.
    """

    def __init__(self, data: Path, manifest: Manifest) -> None:
        verify_fit(data, manifest)
        tables = read_fit_tables(data, manifest)
        self._quantiles = _join_tables([tables[column].table for column in INTEGER_COLUMNS])
        self._ids = _join_vocabularies(data, manifest)

    def __call__(self, values: Int64Array) -> tuple[Float32Array, Int32Array]:
        """Encode rows.

        Args:
            values: int64 [n, 39], I1..I13 within int32 and C1..C26 within uint32, or
                `MISSING_VALUE`.

        Returns:
            Quantiles float32 [n, 13], NaN for missing; ids int32 [n, 26].
        """
        missing = values == MISSING_VALUE
        values = np.where(missing, 0, values)
        quantiles = self._quantiles(values[:, :_NUMBERS])
        quantiles[missing[:, :_NUMBERS]] = np.nan
        ids = self._ids(values[:, _NUMBERS:])
        ids[missing[:, _NUMBERS:]] = MISSING_ID
        return quantiles, ids
