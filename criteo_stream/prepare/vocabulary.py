"""Counts to vocabulary: which values are known, and their ids; all others become OOV.

Ids go by descending count, ties by value. The vocabulary is built in two passes over the merged
counts with files as the only storage that grows: the first keeps the values that are frequent
enough and a histogram of their counts, the second turns each count into a rank.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.storage import atomic_path, full_disk_explained
from criteo_stream.data.parquet import opened_parquet
from criteo_stream.prepare.counts import Int64Array, UInt32Array
from criteo_stream.prepare.value_ids import Int32Array, LookupFile

SLICE_ENTRIES: Final = 1 << 20
_SCHEMA: Final = pa.schema(
    [
        pa.field("value", pa.uint32(), nullable=False),
        pa.field("id", pa.int32(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
_LOOKUP_SCHEMA: Final = pa.schema([_SCHEMA.field("value"), _SCHEMA.field("id")])


@dataclass(frozen=True, kw_only=True)
class VocabularyFacts:
    """Counts from building a vocabulary."""

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
        lookup_path: the known values and their ids by value, see `lookup`.
        min_count: rarer values become OOV.
        max_vocabulary: keep at most this many known values, the most frequent.
    """
    with _scratch(lookup_path) as frequent, _scratch(lookup_path) as entries:
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
        by_id = _ById(entries, known)
        with atomic_path(lookup_path, unique=True) as partial, partial.open("wb") as file:
            lookup = LookupFile(file, known)
            for values, counts in _read_frequent(frequent):
                ranks = _ranks(counts, next_rank)
                kept = ranks < known
                dropped += int(counts[~kept].sum())
                values, counts, ranks = values[kept], counts[kept], ranks[kept]
                lookup.add(values, (ranks + FIRST_KNOWN_ID).astype(np.int32))
                by_id.put(ranks, values, counts)
        by_id.write(path)
    return VocabularyFacts(distinct=distinct, known=known, oov_rows=dropped)


@contextmanager
def _scratch(beside: Path) -> Iterator[IO[bytes]]:
    """A file without a name, on the same disk, that goes with the process."""
    with full_disk_explained(beside), TemporaryFile(dir=beside.parent) as file:
        yield file


_ENTRY = np.dtype([("value", np.uint32), ("count", np.int64)])


def _keep_frequent(
    parts: Iterable[tuple[UInt32Array, Int64Array]], file: IO[bytes], min_count: int
) -> tuple[int, int, dict[int, int]]:
    """Store the frequent values; return (distinct, rows of the others, values per count)."""
    distinct = dropped = 0
    histogram: dict[int, int] = {}  # at most √(2 · rows) different counts exist
    for values, counts in parts:
        distinct += len(values)
        kept = counts >= min_count
        dropped += int(counts[~kept].sum())
        entries = np.empty(int(kept.sum()), _ENTRY)
        entries["value"], entries["count"] = values[kept], counts[kept]
        file.write(entries.data)
        for count, times in zip(*np.unique(entries["count"], return_counts=True), strict=True):
            histogram[int(count)] = histogram.get(int(count), 0) + int(times)
    file.flush()
    file.seek(0)
    return distinct, dropped, histogram


def _read_frequent(file: IO[bytes]) -> Iterable[tuple[UInt32Array, Int64Array]]:
    while len(entries := np.fromfile(file, _ENTRY, SLICE_ENTRIES)):
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

    def __init__(self, file: IO[bytes], known: int) -> None:
        self._known = known
        if known:
            # A mapped file must have its space before it is written to: a disk that fills up
            # under a mapping kills the process.
            os.posix_fallocate(file.fileno(), 0, known * _ENTRY.itemsize)
            self._entries = np.memmap(file, _ENTRY, "r+", shape=(known,))

    def put(self, ranks: Int64Array, values: UInt32Array, counts: Int64Array) -> None:
        if len(ranks):
            self._entries["value"][ranks] = values
            self._entries["count"][ranks] = counts

    def write(self, path: Path) -> None:
        encodings = {"value": "PLAIN"} | dict.fromkeys(("id", "count"), "DELTA_BINARY_PACKED")
        with (
            atomic_path(path, unique=True) as partial,
            pq.ParquetWriter(
                partial, _SCHEMA, use_dictionary=False, column_encoding=encodings
            ) as writer,
        ):
            for start in range(0, self._known, SLICE_ENTRIES):
                entries = self._entries[start : start + SLICE_ENTRIES]
                ids = np.arange(start, start + len(entries), dtype=np.int32) + FIRST_KNOWN_ID
                columns = [entries["value"].copy(), ids, entries["count"].copy()]
                writer.write_table(pa.table(columns, schema=_SCHEMA))


def read_vocabulary(path: Path, ids: int) -> tuple[UInt32Array, Int32Array]:
    """The known values of a vocabulary and their ids, by id.

    Args:
        path: the file.
        ids: size of the column's id space (manifest).

    Raises:
        DataSetError: it is missing or no Parquet file, a value or an id is there twice, or one is
            missing.
    """
    try:
        with opened_parquet(path, _SCHEMA) as file:
            _check_ids_and_counts(file, ids)
            values = file.read(["value"])["value"].to_numpy()
        _check_unique(np.sort(values))
    except ValueError as error:
        raise _no_vocabulary(path, error) from None
    return values, np.arange(FIRST_KNOWN_ID, ids, dtype=np.int32)


def write_lookup(vocabulary: Path, lookup_path: Path, ids: int) -> None:
    """Write the lookup file of an existing vocabulary, value range by value range.

    Args:
        vocabulary: the file.
        lookup_path: where to.
        ids: size of the column's id space (manifest).

    Raises:
        DataSetError: as `read_vocabulary`.
    """
    try:
        with opened_parquet(vocabulary, _SCHEMA) as file:
            _check_ids_and_counts(file, ids)
            _write_lookup(file, lookup_path)
    except ValueError as error:
        raise _no_vocabulary(vocabulary, error) from None


def _write_lookup(file: pq.ParquetFile, lookup_path: Path) -> None:
    known = file.metadata.num_rows
    # Hash values spread evenly, so even ranges hold about equally many.
    bounds = np.linspace(0, 2**32, known // SLICE_ENTRIES + 2, dtype=np.int64)
    with atomic_path(lookup_path) as partial, partial.open("wb") as out:
        lookup = LookupFile(out, known)
        for low, high in pairwise(bounds.tolist()):
            parts = [
                batch.filter((pc.field("value") >= low) & (pc.field("value") < high))
                for batch in file.iter_batches(SLICE_ENTRIES, columns=["value", "id"])
            ]
            table = pa.Table.from_batches(parts, _LOOKUP_SCHEMA).sort_by("value")
            values = table["value"].to_numpy()
            _check_unique(values)
            lookup.add(values, table["id"].to_numpy())


def _check_ids_and_counts(file: pq.ParquetFile, ids: int) -> None:
    """Ids count up, and counts fall from slice to slice.

    Raises:
        ValueError: they do not.
    """
    after, least = FIRST_KNOWN_ID, np.iinfo(np.int64).max
    for batch in file.iter_batches(SLICE_ENTRIES, columns=["id", "count"]):
        if any(column.null_count for column in batch.columns):
            raise ValueError("it has gaps")
        found, counts = batch["id"].to_numpy(), batch["count"].to_numpy()
        if not np.array_equal(found, np.arange(after, after + len(found))):
            break
        if len(counts) and (counts[0] > least or counts[-1] < 1 or (np.diff(counts) > 0).any()):
            raise ValueError("its counts do not fall")
        after, least = after + len(found), counts[-1] if len(counts) else least
    if after != ids or file.metadata.num_rows != ids - FIRST_KNOWN_ID:
        raise ValueError(f"its ids are not {FIRST_KNOWN_ID} to {ids - 1:,}, each once")


def _check_unique(values: UInt32Array) -> None:
    """Values that ascend.

    Raises:
        ValueError: one is there twice.
    """
    if (values[1:] == values[:-1]).any():
        raise ValueError("a value is there twice")


def _no_vocabulary(path: Path, reason: ValueError) -> DataSetError:
    return DataSetError(
        f"{path} is not what a fit writes ({reason}): restore it or prepare the set again"
    )
