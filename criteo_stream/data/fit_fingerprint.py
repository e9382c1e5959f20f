"""Identity of a fit by what it means: values, ids, counts and quantiles, not bytes of Parquet.

Another version of a Parquet library writes other bytes for the same vocabulary, and a model reads
both. All numbers are hashed as little-endian, so that a machine of any kind gives the same:

- a categorical column: the number of known values (int64), then for each, by id, its value
  (uint32), id (int32) and count (int64);
- an integer column: the number of entries of its table (int64), then all values, all rows below,
  all rows up to them (int64 each), the rows without a value (int64), and the mean (float64) where
  the table has an entry;
- a fit: the minimal count and the columns' digests, as the text of `fingerprint_of_fit`.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from criteo_stream.base.schema import FEATURE_COLUMNS

_ENTRY: Final = np.dtype([("value", "<u4"), ("id", "<i4"), ("count", "<i8")])
_ENTRIES: Final = 1 << 16
"""That are put together at a time: a megabyte."""
_DIGITS: Final = 16

Integers = npt.NDArray[np.integer]


class VocabularyDigest:
    """Digest of a categorical column, taken while its known values pass in the order of their ids.

    Args:
        known: how many there are.
    """

    def __init__(self, known: int) -> None:
        self._hash = hashlib.sha256(struct.pack("<q", known))
        self._entries = np.empty(_ENTRIES, _ENTRY)

    def add(self, values: Integers, ids: Integers, counts: Integers) -> None:
        """Take the next values; how many at a time makes no difference."""
        for start in range(0, len(values), _ENTRIES):
            entries = self._entries[: len(values) - start]
            part = slice(start, start + _ENTRIES)
            entries["value"], entries["id"], entries["count"] = (
                values[part],
                ids[part],
                counts[part],
            )
            self._hash.update(entries.data)

    def digest(self) -> str:
        """Of all values so far."""
        return self._hash.hexdigest()[:_DIGITS]


def quantiles_digest(arrays: Iterable[Integers], missing: int, mean: float | None) -> str:
    """Digest of an integer column.

    Args:
        arrays: of its table: values, rows below, rows up to them, int64 [n] each.
        missing: training rows without a value.
        mean: of the values; None where there are none.
    """
    values, below, up_to = arrays
    found = hashlib.sha256(struct.pack("<q", len(values)))
    for array in (values, below, up_to):
        found.update(np.ascontiguousarray(array, "<i8").data)
    found.update(struct.pack("<q", missing))
    if mean is not None:
        found.update(struct.pack("<d", mean))
    return found.hexdigest()[:_DIGITS]


def fingerprint_of_fit(min_count: int, digests: Mapping[str, str]) -> str:
    """Identity of a fit.

    Args:
        min_count: values rarer than this have no id; an extension goes on with it.
        digests: of all columns.
    """
    lines = [f"min_count {min_count}", *(f"{name} {digests[name]}" for name in FEATURE_COLUMNS)]
    text = "".join(f"{line}\n" for line in lines)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
