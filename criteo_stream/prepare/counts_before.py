"""The counts of a set that is extended, together with those of new rows.

What was known comes by id and what was rare by value. Both are put into files in ascending order
of the values first, so that merging needs no more memory than a merge of new rows alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from criteo_stream.base.reserved_ids import OOV_ID
from criteo_stream.base.storage import atomic_path
from criteo_stream.prepare.counts import (
    Int64Array,
    Run,
    SpilledRun,
    UInt32Array,
    cut,
    merge,
)
from criteo_stream.prepare.value_ids import Int32Array

_PARTS: Final[dict[str, Any]] = {"values": np.uint32, "counts": np.int64, "ids": np.int32}
"""Files of a column, by suffix, and the numbers in them."""
_LOOK_AT: Final = 1 << 20
"""Entries at a time."""


class Stretch(NamedTuple):
    """Counts whose values ascend, mapped from disk."""

    values: UInt32Array
    counts: Int64Array
    ids: Int32Array
    """0 for a value without one."""

    def between(self, low: int, high: int) -> "Stretch":
        """A copy of the part with low ≤ value < high."""
        start, stop = np.searchsorted(self.values, np.array([low, high], np.int64))
        return Stretch(
            self.values[start:stop].copy(),
            self.counts[start:stop].copy(),
            self.ids[start:stop].copy(),
        )


class ExtendedCounts(NamedTuple):
    """Counts of one part of the values, ascending; of new rows alone, or of those before too."""

    values: UInt32Array
    counts: Int64Array
    """Of all rows, those before included."""
    ids: Int32Array
    """Those before; 0 where a value had none."""
    new: Int64Array
    """Of the new rows alone."""

    @classmethod
    def of_new(cls, values: UInt32Array, counts: Int64Array) -> "ExtendedCounts":
        """Where nothing was counted before."""
        return cls(values, counts, np.full(len(values), OOV_ID, np.int32), counts)


@dataclass(frozen=True)
class CountsBefore:
    """What was counted before."""

    stretches: Sequence[Stretch]

    @classmethod
    def opened(cls, path: Path) -> "CountsBefore":
        """Map what `write_counts_before` wrote."""
        if not path.with_suffix(".values").stat().st_size:
            return cls([])
        values, counts, ids = (
            np.memmap(path.with_suffix(f".{name}"), kind, "r") for name, kind in _PARTS.items()
        )
        starts = [0]
        for begin in range(0, len(values) - 1, _LOOK_AT):
            part = values[begin : begin + _LOOK_AT + 1]
            starts += (begin + 1 + np.flatnonzero(part[1:] <= part[:-1])).tolist()
        bounds = pairwise([*starts, len(values)])
        return cls([Stretch(values[b:e], counts[b:e], ids[b:e]) for b, e in bounds])

    def with_new(self, runs: Sequence[SpilledRun], max_entries: int) -> Iterator[ExtendedCounts]:
        """Merge runs of new rows with these, value range by value range; see `merge_in_parts`."""
        before = [SpilledRun(len(s.values), partial(_as_run, s)) for s in self.stretches]
        for low, high in pairwise(cut([*runs, *before], max_entries)):
            new = merge([run.open().between(low, high) for run in runs])
            yield _together([s.between(low, high) for s in self.stretches], *new)


def write_counts_before(
    path: Path, parts: Iterable[tuple[UInt32Array, Int64Array, Int32Array]]
) -> None:
    """Write values, counts and ids (0 for none) for `CountsBefore`.

    Args:
        path: of all files, but for their suffixes.
        parts: in stretches of ascending values.
    """
    with ExitStack() as stack:
        files = [
            stack.enter_context(
                stack.enter_context(atomic_path(path.with_suffix(f".{name}"), unique=True)).open(
                    "wb"
                )
            )
            for name in _PARTS
        ]
        for part in parts:
            for file, array in zip(files, part, strict=True):
                file.write(np.ascontiguousarray(array).data)


def remove_counts_before(path: Path) -> None:
    """Remove what `write_counts_before` wrote."""
    for name in _PARTS:
        path.with_suffix(f".{name}").unlink(missing_ok=True)


def _as_run(stretch: Stretch) -> Run:
    """For `cut`, which looks at values alone."""
    return Run(stretch.values, np.empty(0, np.uint32))


def _together(before: Sequence[Stretch], values: UInt32Array, counts: Int64Array) -> ExtendedCounts:
    every = np.concatenate([*(part.values for part in before), values])
    order = np.argsort(every, kind="stable")
    every = every[order]
    starts = np.flatnonzero(np.concatenate([[True], every[1:] != every[:-1]])[: len(every)])
    if not len(starts):
        return ExtendedCounts(values, counts, np.empty(0, np.int32), counts)
    old = sum(len(part.values) for part in before)
    all_counts = np.concatenate([*(part.counts for part in before), counts])
    new = np.concatenate([np.zeros(old, np.int64), counts])
    ids = np.concatenate([*(part.ids for part in before), np.zeros(len(values), np.int32)])
    return ExtendedCounts(
        values=every[starts],
        counts=np.add.reduceat(all_counts[order], starts),
        ids=np.maximum.reduceat(ids[order], starts),
        new=np.add.reduceat(new[order], starts),
    )
