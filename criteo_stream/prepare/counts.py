"""Exact counts of 32-bit values: counted per block, spilled as sorted runs, merged in parts.

A run is a pair of arrays, values ascending and their counts. Runs add up in any order to the
same result, so neither the number of workers nor the memory budget can be seen in it. A merge
cuts the value range so that each part fits the budget, however many distinct values there are.
Integer columns are counted as unsigned values of the same order (`sortable`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

UInt32Array = npt.NDArray[np.uint32]
Int64Array = npt.NDArray[np.int64]

_SIGN = np.uint32(0x80000000)
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Run:
    """Sorted distinct values of one block and how often each occurs in its training rows."""

    values: UInt32Array
    counts: UInt32Array

    def between(self, low: int, high: int) -> "Run":
        """A copy of the part with low ≤ value < high."""
        start, stop = np.searchsorted(self.values, np.array([low, high], np.int64))
        return Run(self.values[start:stop].copy(), self.counts[start:stop].copy())


@dataclass(frozen=True)
class SpilledRun:
    """A run on disk, mapped only while it is looked at: 1TB has more than files may be open."""

    entries: int
    open: Callable[[], Run]


def merge(runs: Sequence[Run]) -> tuple[UInt32Array, Int64Array]:
    """Add up runs: distinct values that occur, ascending, and their int64 counts."""
    # Value and count packed into one key, which sorts several times faster than by argsort.
    keys = np.concatenate([r.values for r in runs]).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.concatenate([r.counts for r in runs])
    keys.sort(kind="stable")  # a merge sort that finds the runs
    counts = (keys & _LOW).astype(np.int64)
    keys >>= np.uint64(32)
    values = keys.astype(np.uint32)
    if not len(values):
        return values, counts
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    values, counts = values[starts], np.add.reduceat(counts, starts)
    occurs = counts > 0
    return values[occurs], counts[occurs]


def merge_in_parts(
    runs: Sequence[SpilledRun], max_entries: int
) -> Iterator[tuple[UInt32Array, Int64Array]]:
    """Merge runs value range by value range, with about ``max_entries`` run entries at a time.

    Yields:
        Like `merge`; the values ascend from part to part too.
    """
    bounds = cut(runs, max_entries)
    for low, high in pairwise(bounds):
        yield merge([run.open().between(low, high) for run in runs])


def cut(runs: Sequence[SpilledRun], max_entries: int) -> list[int]:
    """Bounds of value ranges that hold about equally many entries, at most ``max_entries``."""
    total = sum(run.entries for run in runs)
    # One spare part and a dense sample keep a part of skewed values below the limit too.
    parts = -(-total // max_entries) + 1 if total > max_entries else 1
    if parts == 1:
        return [0, 2**32]
    stride = max(1, total // (64 * parts * max(1, len(runs))))
    sample = np.sort(np.concatenate([run.open().values[::stride].copy() for run in runs]))
    cuts = sample[np.arange(1, parts) * len(sample) // parts]
    return [0, *np.unique(cuts[cuts > 0]).tolist(), 2**32]


def sortable(values: npt.NDArray[np.int32]) -> UInt32Array:
    """Map int32 to uint32 so that the order stays."""
    return values.view(np.uint32) ^ _SIGN


def from_sortable(values: UInt32Array) -> npt.NDArray[np.int32]:
    """Undo `sortable`."""
    return (values ^ _SIGN).view(np.int32)
