"""The values of a block as codes: small numbers that point into its sorted distinct values.

Code 0 is a missing value, code k the k-th smallest. They take a quarter of the values' space,
and what later stages do to a value (find its id, its quantile) is done once per distinct value.
Integer columns are coded as unsigned values of the same order (`counts.sortable`).
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.prepare.counts import UInt32Array
from criteo_stream.prepare.multiplicative_hash import slots_of

CodeArray = npt.NDArray[Any]
"""uint8, uint16 or uint32: `code_type` of the number of distinct values."""

_DIRECT_RANGE: Final = 1 << 20
"""Range of values up to which a table with a place for each of them beats hashing."""
_MOST_SLOT_BITS: Final = 22


def code_type(distinct: int) -> np.dtype[Any]:
    """The narrowest type that holds the codes of so many distinct values."""
    return np.min_scalar_type(distinct)


def encode_values(values: UInt32Array) -> tuple[UInt32Array, CodeArray]:
    """Sorted distinct values of uint32 [n], and the code of each value, [n]."""
    if not len(values):
        return values, np.empty(0, code_type(0))
    low, high = int(values.min()), int(values.max())
    if high - low < _DIRECT_RANGE:
        return _by_address(values, low, high)
    return _by_hash(values)


def _by_address(values: UInt32Array, low: int, high: int) -> tuple[UInt32Array, CodeArray]:
    offsets = values - np.uint32(low)
    present = np.zeros(high - low + 1, bool)
    present[offsets] = True
    distinct = np.flatnonzero(present)
    codes = np.cumsum(present, dtype=code_type(len(distinct)))
    return (distinct + low).astype(np.uint32), codes.take(offsets)


def _by_hash(values: UInt32Array) -> tuple[UInt32Array, CodeArray]:
    """Codes from a table of slots by a multiplicative hash.

    Every value is known to be among the distinct ones, so a slot that only one of them hashes to
    needs no comparison. The values that share a slot are searched for.
    """
    distinct = np.sort(pl.Series(values).unique().to_numpy())
    codes = np.arange(1, len(distinct) + 1, dtype=code_type(len(distinct)))
    bits = min(max((8 * len(distinct)).bit_length(), 10), _MOST_SLOT_BITS)
    slots = slots_of(distinct, bits)
    table = np.zeros(1 << bits, codes.dtype)
    table[slots] = codes
    table[slots[table[slots] != codes]] = 0
    shared = np.flatnonzero(table[slots] == 0)
    found = table.take(slots_of(values, bits))
    left = np.flatnonzero(found == 0)
    if len(left):
        found[left] = codes[shared][np.searchsorted(distinct[shared], values[left])]
    return distinct, found
