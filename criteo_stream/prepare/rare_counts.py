"""The values of a column that have no id, and how often each was seen: kept to extend the fit with.

Values ascend, as merging meets them; then, in ascending order too, those that would have an id
if the vocabulary were not limited. On Kaggle's column sizes a value takes 2 to 3 bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.storage import atomic_path
from criteo_stream.data.parquet import as_numpy, opened_parquet
from criteo_stream.prepare.counts import Int64Array, UInt32Array

_GROUP_ENTRIES: Final = 1 << 20
"""Entries of a row group, whatever parts they come in."""
_SCHEMA: Final = pa.schema(
    [
        pa.field("value", pa.uint32(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)


class RareCounts:
    """Writes such a file; see `writing_rare_counts`."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._values = [np.empty(0, np.uint32)]
        self._counts = [np.empty(0, np.int64)]
        self._held = 0

    def add(self, values: UInt32Array, counts: Int64Array) -> None:
        """Append values and their counts."""
        self._values.append(values)
        self._counts.append(counts)
        self._held += len(values)
        while self._held >= _GROUP_ENTRIES:
            self._write(_GROUP_ENTRIES)

    def finish(self) -> None:
        """Write what is held."""
        if self._held:
            self._write(self._held)

    def _write(self, entries: int) -> None:
        values, counts = np.concatenate(self._values), np.concatenate(self._counts)
        group = pa.table([values[:entries], counts[:entries]], schema=_SCHEMA)
        self._writer.write_table(group, entries)
        self._values, self._counts = [values[entries:]], [counts[entries:]]
        self._held -= entries


@contextmanager
def writing_rare_counts(path: Path) -> Iterator[RareCounts]:
    """Write a file of counts; it appears whole."""
    with (
        atomic_path(path, unique=True) as partial,
        pq.ParquetWriter(
            partial,
            _SCHEMA,
            use_dictionary=False,
            column_encoding=dict.fromkeys(_SCHEMA.names, "DELTA_BINARY_PACKED"),
            compression="zstd",
            write_statistics=False,
        ) as writer,
    ):
        rare = RareCounts(writer)
        yield rare
        rare.finish()


def read_rare_counts(path: Path) -> Iterator[tuple[UInt32Array, Int64Array]]:
    """Values and counts in the order of the file, a row group at a time.

    Raises:
        DataSetError: it is missing, no such file, or holds what was never counted.
    """
    try:
        with opened_parquet(path, _SCHEMA) as file:
            for batch in file.iter_batches(_GROUP_ENTRIES):
                if any(column.null_count for column in batch.columns):
                    raise ValueError("it has gaps")
                values, counts = as_numpy(batch["value"]), as_numpy(batch["count"])
                if len(counts) and counts.min() < 1:
                    raise ValueError("a value was seen less than once")
                yield values, counts
    except ValueError as error:
        raise DataSetError(
            f"{path} is not what a fit writes ({error}): restore it or prepare the set again"
        ) from None
