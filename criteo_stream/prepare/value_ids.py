"""Values to ids: a vocabulary in memory for raw rows, or on disk for values in sorted order."""

from pathlib import Path
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt

from criteo_stream.base.reserved_ids import OOV_ID
from criteo_stream.prepare.counts import UInt32Array
from criteo_stream.prepare.multiplicative_hash import slots_of

Int32Array = npt.NDArray[np.int32]


class Lookup(Protocol):
    """Values to ids; unknown values become OOV."""

    def ids(self, values: UInt32Array) -> Int32Array:
        """Look up uint32 [n]; int32 [n]."""
        ...


class HashedLookup:
    """A vocabulary in memory: a table of slots by a multiplicative hash.

    A slot belongs to the first value that hashes to it; those that come later are crowded out,
    and searched for where a look-up finds another value in its slot.

    Args:
        values: uint32 [known], those looked up most often first.
        ids: int32 [known].
    """

    def __init__(self, values: UInt32Array, ids: Int32Array) -> None:
        self._bits = min(max((4 * len(values)).bit_length(), 1), 28)
        slots = slots_of(values, self._bits)
        places = np.arange(len(values), dtype=np.int32)
        self._table = np.full(1 << self._bits, len(values), np.int32)
        self._table[slots[::-1]] = places[::-1]
        crowded = np.flatnonzero(self._table[slots] != places)
        crowded = crowded[np.argsort(values[crowded])]
        self._crowded = SortedLookup(values[crowded], ids[crowded])
        # The entry of empty slots; it may hold any value, for its id is that of unknown ones.
        self._values = np.append(values, np.uint32(0))
        self._ids = np.append(ids, np.int32(OOV_ID)).astype(np.int32)

    def ids(self, values: UInt32Array) -> Int32Array:
        """Look up uint32 [n]; int32 [n]."""
        places = self._table.take(slots_of(values, self._bits))
        ids = self._ids.take(places)
        others = np.flatnonzero(self._values.take(places) != values)
        ids[others] = self._crowded.ids(values[others])
        return ids


class SortedLookup:
    """A vocabulary in ascending order, which may be mapped from a file larger than memory.

    Look-ups in ascending order read it from front to back; mapped pages belong to the kernel's
    cache, not to the process.

    Args:
        values: uint32 [known], ascending.
        ids: int32 [known].
    """

    def __init__(self, values: UInt32Array, ids: Int32Array) -> None:
        self._values = values
        self._ids = ids

    def ids(self, values: UInt32Array) -> Int32Array:
        """Look up uint32 [n]; int32 [n]."""
        ids = np.full(len(values), OOV_ID, np.int32)
        if len(self._values):
            places = np.searchsorted(self._values, values)
            places[places == len(self._values)] = 0
            found = np.flatnonzero(self._values[places] == values)
            ids[found] = self._ids[places[found]]
        return ids


class LookupFile:
    """Writes a column's known values, then their ids, in ascending order of the values."""

    def __init__(self, file: IO[bytes], known: int) -> None:
        self._file = file
        self._known = known
        self._written = 0

    def add(self, values: UInt32Array, ids: Int32Array) -> None:
        """Append values that ascend from call to call, and their ids."""
        self._file.seek(4 * self._written)
        self._file.write(values.data)
        self._file.seek(4 * (self._known + self._written))
        self._file.write(ids.data)
        self._written += len(values)


def open_lookup(path: Path) -> SortedLookup:
    """Map what a `LookupFile` wrote."""
    known = path.stat().st_size // 8
    if not known:
        return SortedLookup(np.empty(0, np.uint32), np.empty(0, np.int32))
    content = np.asarray(np.memmap(path, np.uint32, "r"))
    return SortedLookup(content[:known], content[known:].view(np.int32))
