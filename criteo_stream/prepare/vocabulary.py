"""Counts to vocabulary: which values are known, and their ids; all others become OOV.

Ids go by descending count, ties by value. The vocabulary is built in two passes over the merged
counts with files as the only storage that grows: the first keeps the values that are frequent
enough and a histogram of their counts, the second turns each count into a rank.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID, OOV_ID
from criteo_stream.base.storage import atomic_path, full_disk_explained
from criteo_stream.base.system import reserve_space
from criteo_stream.data.fit_fingerprint import VocabularyDigest
from criteo_stream.prepare.counts import Int64Array, UInt32Array
from criteo_stream.prepare.counts_before import ExtendedCounts
from criteo_stream.prepare.rare_counts import RareCounts, writing_rare_counts
from criteo_stream.prepare.value_ids import LookupFile

SLICE_ENTRIES: Final = 1 << 20
VOCABULARY_SCHEMA: Final = pa.schema(
    [
        pa.field("value", pa.uint32(), nullable=False),
        pa.field("id", pa.int32(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class VocabularyFacts:
    """Counts from building a vocabulary."""

    distinct: int
    known: int
    oov_rows: int
    new_oov_before: int
    """New rows whose value had no id before; all rows where nothing is extended."""
    new_oov: int
    """New rows whose value has none now."""
    digest: str
    """Of the known values, see `fit_fingerprint`."""


def build_vocabulary(
    parts: Iterable[ExtendedCounts],
    path: Path,
    lookup_path: Path,
    counts_path: Path | None,
    *,
    min_count: int,
    max_vocabulary: int | None,
    known_before: int = 0,
) -> VocabularyFacts:
    """Write a column's vocabulary and its lookup file from counts in ascending value order.

    Values that had an id keep it; those that come to have one get the ids after them.

    Args:
        parts: distinct values and their counts, ascending over all parts.
        path: the vocabulary, Parquet: value (uint32), id (int32), count (int64), by id.
        lookup_path: the known values and their ids by value, see `lookup`.
        counts_path: takes the counts of all other values, see `rare_counts`; None drops them.
        min_count: rarer values become OOV.
        max_vocabulary: keep at most this many known values, the most frequent.
        known_before: how many values had an id.
    """
    with ExitStack() as stack:
        frequent = stack.enter_context(_scratch(lookup_path))
        entries = stack.enter_context(_scratch(lookup_path))
        rare = stack.enter_context(writing_rare_counts(counts_path)) if counts_path else None
        found = _keep_frequent(parts, frequent, rare, min_count)
        counts_seen = np.array(sorted(found.histogram, reverse=True), np.int64)
        how_many = np.array([found.histogram[c] for c in counts_seen.tolist()], np.int64)
        added = int(how_many.sum())
        if max_vocabulary is not None:
            added = min(added, max(0, max_vocabulary - known_before))
        known = known_before + added
        # Rank of the first value with each count; moves on as values of that count are met.
        next_rank = dict(
            zip(counts_seen.tolist(), (np.cumsum(how_many) - how_many).tolist(), strict=True)
        )
        by_id = _ById(entries, known)
        oov_rows, new_oov = found.oov_rows, found.new_oov
        partial = stack.enter_context(atomic_path(lookup_path, unique=True))
        lookup = LookupFile(stack.enter_context(partial.open("wb")), known)
        for values, counts, ids, new in _read_frequent(frequent):
            places = ids.astype(np.int64) - FIRST_KNOWN_ID
            unknown = ids == OOV_ID
            places[unknown] = known_before + _ranks(counts[unknown], next_rank)
            kept = places < known
            oov_rows += int(counts[~kept].sum())
            new_oov += int(new[~kept].sum())
            if rare:
                rare.add(values[~kept], counts[~kept])
            values, counts, places = values[kept], counts[kept], places[kept]
            lookup.add(values, (places + FIRST_KNOWN_ID).astype(np.int32))
            by_id.put(places, values, counts)
        digest = by_id.write(path)
    return VocabularyFacts(
        distinct=found.distinct,
        known=known,
        oov_rows=oov_rows,
        new_oov_before=found.new_oov_before,
        new_oov=new_oov,
        digest=digest,
    )


@contextmanager
def _scratch(beside: Path) -> Iterator[IO[bytes]]:
    """A file without a name, on the same disk, that goes with the process."""
    with full_disk_explained(beside), TemporaryFile(dir=beside.parent) as file:
        yield file


_ENTRY = np.dtype(
    [("values", np.uint32), ("counts", np.int64), ("ids", np.int32), ("new", np.int64)]
)
"""Of `ExtendedCounts`, by the names of its parts."""


@dataclass(kw_only=True)
class _Frequent:
    """What the first pass counts."""

    histogram: dict[int, int] = field(default_factory=dict)
    """Values without an id so far, by their count: at most √(2 · rows) different ones exist."""
    distinct: int = 0
    oov_rows: int = 0
    """Rows of values that are too rare."""
    new_oov_before: int = 0
    new_oov: int = 0


def _keep_frequent(
    parts: Iterable[ExtendedCounts], file: IO[bytes], rare: RareCounts | None, min_count: int
) -> _Frequent:
    """Store the values that have an id or are frequent enough for one."""
    found = _Frequent()
    for values, counts, ids, new in parts:
        unknown = ids == OOV_ID
        kept = (counts >= min_count) | ~unknown
        if rare:
            rare.add(values[~kept], counts[~kept])
        found.distinct += len(values)
        found.oov_rows += int(counts[~kept].sum())
        found.new_oov_before += int(new[unknown].sum())
        found.new_oov += int(new[~kept].sum())
        entries = np.empty(int(kept.sum()), _ENTRY)
        entries["values"], entries["counts"] = values[kept], counts[kept]
        entries["ids"], entries["new"] = ids[kept], new[kept]
        file.write(entries.data)
        adopted = counts[kept & unknown]
        for count, times in zip(*np.unique(adopted, return_counts=True), strict=True):
            found.histogram[int(count)] = found.histogram.get(int(count), 0) + int(times)
    file.flush()
    file.seek(0)
    return found


def _read_frequent(file: IO[bytes]) -> Iterable[ExtendedCounts]:
    while True:
        entries: np.ndarray[Any, np.dtype[np.void]] = np.fromfile(file, _ENTRY, SLICE_ENTRIES)
        if not len(entries):
            return
        yield ExtendedCounts(**{name: entries[name].copy() for name in ExtendedCounts._fields})


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


_KNOWN = np.dtype([("value", np.uint32), ("count", np.int64)])


class _ById:
    """Values and counts put in id order through a file, so that memory does not grow with them."""

    def __init__(self, file: IO[bytes], known: int) -> None:
        self._known = known
        if known:
            # A mapped file must have its space before it is written to: a disk that fills up
            # under a mapping kills the process.
            reserve_space(file, known * _KNOWN.itemsize)
            self._entries = np.memmap(file, _KNOWN, "r+", shape=(known,))

    def put(self, places: Int64Array, values: UInt32Array, counts: Int64Array) -> None:
        if len(places):
            self._entries["value"][places] = values
            self._entries["count"][places] = counts

    def write(self, path: Path) -> str:
        """Write the vocabulary; its digest."""
        digest = VocabularyDigest(self._known)
        encodings = {"value": "PLAIN"} | dict.fromkeys(("id", "count"), "DELTA_BINARY_PACKED")
        with (
            atomic_path(path, unique=True) as partial,
            pq.ParquetWriter(
                partial, VOCABULARY_SCHEMA, use_dictionary=False, column_encoding=encodings
            ) as writer,
        ):
            for start in range(0, self._known, SLICE_ENTRIES):
                entries = self._entries[start : start + SLICE_ENTRIES]
                ids = np.arange(start, start + len(entries), dtype=np.int32) + FIRST_KNOWN_ID
                columns = [entries["value"].copy(), ids, entries["count"].copy()]
                digest.add(*columns)
                writer.write_table(pa.table(columns, schema=VOCABULARY_SCHEMA))
        return digest.digest()
