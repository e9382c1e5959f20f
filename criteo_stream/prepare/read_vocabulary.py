"""Vocabularies of a finished set, read back and held against what a fit writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.storage import atomic_path
from criteo_stream.data.fit_fingerprint import VocabularyDigest
from criteo_stream.data.parquet import as_numpy, opened_parquet
from criteo_stream.prepare.counts import Int64Array, UInt32Array
from criteo_stream.prepare.value_ids import Int32Array, LookupFile
from criteo_stream.prepare.vocabulary import SLICE_ENTRIES, VOCABULARY_SCHEMA


class KnownValues(NamedTuple):
    """Known values of a column, in ascending order."""

    values: UInt32Array
    ids: Int32Array
    counts: Int64Array


def read_vocabulary(
    path: Path, ids: int, *, is_extended: bool = False
) -> tuple[UInt32Array, Int32Array]:
    """The known values of a vocabulary and their ids, by id.

    Args:
        path: the file.
        ids: size of the column's id space (manifest).
        is_extended: whether the fit extends another; counts fall by id only where it does not.

    Raises:
        DataSetError: it is missing or no Parquet file, a value or an id is there twice, or one is
            missing.
    """
    with _opened(path, ids, is_extended=is_extended) as file:
        values = as_numpy(file.read(["value"])["value"])
        _check_unique(np.sort(values))
    return values, np.arange(FIRST_KNOWN_ID, ids, dtype=np.int32)


def known_by_value(path: Path, ids: int, *, is_extended: bool = False) -> Iterator[KnownValues]:
    """The known values of a vocabulary in ascending order, value range by value range.

    Raises:
        DataSetError: as `read_vocabulary`.
    """
    with _opened(path, ids, is_extended=is_extended) as file:
        # Hash values spread evenly, so even ranges hold about equally many.
        ranges = file.metadata.num_rows // SLICE_ENTRIES + 2
        for low, high in pairwise(np.linspace(0, 2**32, ranges, dtype=np.int64).tolist()):
            parts = [
                batch.filter((pc.field("value") >= low) & (pc.field("value") < high))
                for batch in file.iter_batches(SLICE_ENTRIES)
            ]
            table = pa.Table.from_batches(parts, VOCABULARY_SCHEMA).sort_by("value")
            found = KnownValues(*(as_numpy(table[name]) for name in ("value", "id", "count")))
            _check_unique(found.values)
            yield found


def vocabulary_digest(path: Path, ids: int, *, is_extended: bool = False) -> str:
    """Digest of the known values, as when they were written; see `fit_fingerprint`.

    Raises:
        DataSetError: as `read_vocabulary`.
    """
    digest = VocabularyDigest(ids - FIRST_KNOWN_ID)
    with _opened(path, ids, is_extended=is_extended) as file:
        for batch in file.iter_batches(SLICE_ENTRIES):
            digest.add(*(as_numpy(batch[name]) for name in VOCABULARY_SCHEMA.names))
    return digest.digest()


def write_lookup(
    vocabulary: Path, lookup_path: Path, ids: int, *, is_extended: bool = False
) -> None:
    """Write the lookup file of an existing vocabulary.

    Args:
        vocabulary: the file.
        lookup_path: where to.
        ids: size of the column's id space (manifest).
        is_extended: as for `read_vocabulary`.

    Raises:
        DataSetError: as `read_vocabulary`.
    """
    with atomic_path(lookup_path) as partial, partial.open("wb") as out:
        lookup = LookupFile(out, ids - FIRST_KNOWN_ID)
        for known in known_by_value(vocabulary, ids, is_extended=is_extended):
            lookup.add(known.values, known.ids)


@contextmanager
def _opened(path: Path, ids: int, *, is_extended: bool) -> Iterator[pq.ParquetFile]:
    """A vocabulary whose ids and counts were checked.

    Raises:
        DataSetError: it is not what a fit writes, or a `ValueError` within says so.
    """
    try:
        with opened_parquet(path, VOCABULARY_SCHEMA) as file:
            _check_ids_and_counts(file, ids, falling=not is_extended)
            yield file
    except ValueError as error:
        raise DataSetError(
            f"{path} is not what a fit writes ({error}): restore it or prepare the set again"
        ) from None


def _check_ids_and_counts(file: pq.ParquetFile, ids: int, *, falling: bool) -> None:
    """Ids count up; counts are positive, and fall from slice to slice if they are to.

    Raises:
        ValueError: they do not.
    """
    after, least = FIRST_KNOWN_ID, np.iinfo(np.int64).max
    for batch in file.iter_batches(SLICE_ENTRIES, columns=["id", "count"]):
        if any(column.null_count for column in batch.columns):
            raise ValueError("it has gaps")
        found, counts = as_numpy(batch["id"]), as_numpy(batch["count"])
        if not np.array_equal(found, np.arange(after, after + len(found))):
            break
        if len(counts) and counts.min() < 1:
            raise ValueError("a value was seen less than once")
        if falling and len(counts) and (counts[0] > least or (np.diff(counts) > 0).any()):
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
