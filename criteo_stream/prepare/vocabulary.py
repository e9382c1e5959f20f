"""Counts to vocabulary, and values to ids.

Ids go by descending count, ties by value. The vocabulary is built in two passes over the merged
counts with files as the only storage that grows: the first keeps the values that are frequent
enough and a histogram of their counts, the second turns each count into a rank.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from criteo_stream.prepare.counts import Int64Array, UInt32Array
from criteo_stream.schema import FIRST_KNOWN_ID, OOV_ID
from criteo_stream.storage import atomic_path, full_disk_explained

Int32Array = npt.NDArray[np.int32]

LOOKUP_BYTES_PER_VALUE: Final = 24
"""Upper bound of what `HashedLookup` holds per known value."""

_SLICE: Final = 1 << 20
_SCHEMA: Final = pa.schema(
    [
        pa.field("value", pa.uint32(), nullable=False),
        pa.field("id", pa.int32(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class VocabularyFacts:
    """What building a vocabulary found out."""

    distinct: int
    known: int
    oov_rows: int


def build_vocabulary(
    parts: Iterable[tuple[UInt32Array, Int64Array]],
    path: Path,
    lookup_path: Path,
    *,
    min_count: int,
    max_vocabulary: int | None,
) -> VocabularyFacts:
    """Write a column's vocabulary and its lookup file from counts in ascending value order.

    Args:
        parts: distinct values and their counts, ascending over all parts.
        path: the vocabulary, Parquet: value (uint32), id (int32), count (int64), by id.
        lookup_path: (value, id) pairs of the known values by ascending value, int32 pairs.
        min_count: rarer values become OOV.
        max_vocabulary: keep at most this many known values, the most frequent.
    """
    frequent = lookup_path.with_suffix(".frequent")
    distinct, dropped, histogram = _keep_frequent(parts, frequent, min_count)
    counts_seen = np.array(sorted(histogram, reverse=True), np.int64)
    how_many = np.array([histogram[c] for c in counts_seen.tolist()], np.int64)
    known = int(how_many.sum())
    if max_vocabulary is not None:
        known = min(known, max_vocabulary)
    # Rank of the first value with each count; moves on as values of that count are met.
    next_rank = dict(
        zip(counts_seen.tolist(), (np.cumsum(how_many) - how_many).tolist(), strict=True)
    )
    with full_disk_explained(path), atomic_path(lookup_path) as partial, partial.open("wb") as file:
        by_id = _ById(lookup_path.with_suffix(".by_id"), known)
        for values, counts in _read_frequent(frequent):
            ranks = _ranks(counts, next_rank)
            kept = ranks < known
            dropped += int(counts[~kept].sum())
            values, counts, ranks = values[kept], counts[kept], ranks[kept]
            pairs = np.empty((len(values), 2), np.uint32)
            pairs[:, 0] = values
            pairs[:, 1] = ranks + FIRST_KNOWN_ID
            pairs.tofile(file)
            by_id.put(ranks, values, counts)
    by_id.write(path)
    frequent.unlink()
    return VocabularyFacts(distinct=distinct, known=known, oov_rows=dropped)


_ENTRY = np.dtype([("value", np.uint32), ("count", np.int64)])


def _keep_frequent(
    parts: Iterable[tuple[UInt32Array, Int64Array]], path: Path, min_count: int
) -> tuple[int, int, dict[int, int]]:
    """Store the frequent values; return (distinct, rows of the others, values per count)."""
    distinct = dropped = 0
    histogram: dict[int, int] = {}  # at most √(2 · rows) different counts exist
    with full_disk_explained(path), path.open("wb") as file:
        for values, counts in parts:
            distinct += len(values)
            kept = counts >= min_count
            dropped += int(counts[~kept].sum())
            entries = np.empty(int(kept.sum()), _ENTRY)
            entries["value"], entries["count"] = values[kept], counts[kept]
            entries.tofile(file)
            for count, times in zip(*np.unique(entries["count"], return_counts=True), strict=True):
                histogram[int(count)] = histogram.get(int(count), 0) + int(times)
    return distinct, dropped, histogram


def _read_frequent(path: Path) -> Iterable[tuple[UInt32Array, Int64Array]]:
    with path.open("rb") as file:
        while len(entries := np.fromfile(file, _ENTRY, _SLICE)):
            yield entries["value"].copy(), entries["count"].copy()


def _ranks(counts: Int64Array, next_rank: dict[int, int]) -> Int64Array:
    """Rank of each value by (count descending, order of arrival); moves ``next_rank`` on."""
    order = np.argsort(counts, kind="stable")
    seen, starts, times = np.unique(counts[order], return_index=True, return_counts=True)
    first = np.array([next_rank[c] for c in seen.tolist()], np.int64)
    ranks = np.empty(len(counts), np.int64)
    ranks[order] = np.arange(len(counts)) + np.repeat(first - starts, times)
    for count, rank, more in zip(seen.tolist(), first.tolist(), times.tolist(), strict=True):
        next_rank[count] = rank + more
    return ranks


class _ById:
    """Values and counts put in id order through a file, so that memory does not grow with them."""

    def __init__(self, path: Path, known: int) -> None:
        self._path = path
        self._known = known
        if known:
            self._entries = np.memmap(path, _ENTRY, "w+", shape=(known,))

    def put(self, ranks: Int64Array, values: UInt32Array, counts: Int64Array) -> None:
        if len(ranks):
            self._entries["value"][ranks] = values
            self._entries["count"][ranks] = counts

    def write(self, path: Path) -> None:
        with atomic_path(path) as partial, pq.ParquetWriter(partial, _SCHEMA) as writer:
            for start in range(0, self._known, _SLICE):
                entries = self._entries[start : start + _SLICE]
                ids = np.arange(start, start + len(entries), dtype=np.int32) + FIRST_KNOWN_ID
                columns = [entries["value"].copy(), ids, entries["count"].copy()]
                writer.write_table(pa.table(columns, schema=_SCHEMA))
        self._path.unlink(missing_ok=True)


def write_lookup(vocabulary: Path, lookup_path: Path) -> int:
    """Write the lookup file of an existing vocabulary; returns the number of known values."""
    table = pq.read_table(vocabulary, columns=["value", "id"])
    pairs = np.stack([table["value"].to_numpy(), table["id"].to_numpy().astype(np.uint32)], axis=1)
    with atomic_path(lookup_path) as partial:
        pairs[np.argsort(pairs[:, 0])].tofile(partial)
    return len(pairs)


class Lookup(Protocol):
    """Values to ids; unknown values become OOV."""

    def ids(self, values: UInt32Array) -> Int32Array:
        """Look up uint32 [n]; int32 [n]."""
        ...


class HashedLookup:
    """A vocabulary in memory, in buckets by a multiplicative hash (Knuth, vol. 3, 6.4).

    The hash is a bijection of 32-bit words, so comparing hashes compares values, whatever the
    values are. Buckets hold half a value on average; a look-up steps on only where it must.
    """

    _MULTIPLIER = np.uint32(2654435769)

    def __init__(self, values: UInt32Array, ids: Int32Array) -> None:
        hashes = values * self._MULTIPLIER
        order = np.argsort(hashes)
        bits = max(1, min(28, int(2 * len(values)).bit_length()))
        self._shift = np.uint32(32 - bits)
        # A sentinel at the end lets a look-up step past the last entry.
        self._hashes = np.append(hashes[order], np.uint32(0))
        self._ids = np.append(ids[order], np.int32(OOV_ID)).astype(np.int32)
        buckets = hashes[order] >> self._shift
        self._starts = np.searchsorted(buckets, np.arange(2**bits + 1)).astype(np.int32)
        self._longest = int(np.diff(self._starts).max())

    def ids(self, values: UInt32Array) -> Int32Array:
        """Look up uint32 [n]; int32 [n]."""
        hashes = values * self._MULTIPLIER
        place = self._starts.take(hashes >> self._shift)
        found = self._hashes.take(place) == hashes
        ids = np.where(found, self._ids.take(place), np.int32(OOV_ID))
        left = np.flatnonzero(~found)
        for step in range(1, self._longest):
            place = place[left] if step == 1 else place
            hashes = hashes[left] if step == 1 else hashes
            place += 1
            np.minimum(place, len(self._hashes) - 1, out=place)
            entry = self._hashes.take(place)
            found = entry == hashes
            ids[left[found]] = self._ids.take(place[found])
            # Entries ascend, so a larger one ends the search.
            on = entry < hashes
            left, place, hashes = left[on], place[on], hashes[on]
            if not len(left):
                break
        return ids


class SortedLookup:
    """A vocabulary on disk, for one larger than memory: values are sorted, then looked up in turn.

    The file's pages are read in order and belong to the kernel's cache, not to the process.
    """

    def __init__(self, path: Path) -> None:
        self._pairs = np.memmap(path, np.uint32, "r").reshape(-1, 2)

    def ids(self, values: UInt32Array) -> Int32Array:
        """Look up uint32 [n]; int32 [n]."""
        distinct, inverse = np.unique(values, return_inverse=True)
        ids = np.full(len(distinct), OOV_ID, np.int32)
        known = self._pairs[:, 0]
        place = np.minimum(np.searchsorted(known, distinct), len(known) - 1)
        found = known[place] == distinct
        ids[found] = self._pairs[place[found], 1]
        return ids[inverse]


def open_lookup(path: Path, *, in_memory: bool) -> Lookup:
    """Open a lookup file, in memory or on disk; both give the same ids."""
    if path.stat().st_size == 0:
        return HashedLookup(np.empty(0, np.uint32), np.empty(0, np.int32))
    if not in_memory:
        return SortedLookup(path)
    pairs = np.fromfile(path, np.uint32).reshape(-1, 2)
    return HashedLookup(pairs[:, 0], pairs[:, 1].astype(np.int32))
