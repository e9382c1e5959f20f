"""Shards: flat Parquet files of encoded rows, written whole and read by the row group.

A shard has the non-nullable columns ``label`` uint8, ``I1..I13`` float32 (NaN for missing) and
``C1..C26`` int32. Ids are stored as bit-packed deltas and the rest plain, without a codec: of all
settings measured this one is the cheapest to write, and every Parquet tool reads it. On Kaggle's
column sizes a row takes 96 bytes, against 160 plain (``benchmarks/loader.py`` measures both).
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.base.storage import atomic_path, file_crc32
from criteo_stream.data.manifest import ShardEntry
from criteo_stream.data.verified import VerifiedFiles

SHARD_SCHEMA = pa.schema(
    [pa.field(LABEL, pa.uint8(), nullable=False)]
    + [pa.field(c, pa.float32(), nullable=False) for c in INTEGER_COLUMNS]
    + [pa.field(c, pa.int32(), nullable=False) for c in CATEGORICAL_COLUMNS]
)
_ENCODINGS = dict.fromkeys(SHARD_SCHEMA.names, "PLAIN") | dict.fromkeys(
    CATEGORICAL_COLUMNS, "DELTA_BINARY_PACKED"
)

OPEN_FILES = 32
"""Shards that a reader keeps open; each costs about 1 MB for its footer."""


class RowGroup(NamedTuple):
    """Decoded rows, each array C-contiguous."""

    numeric: npt.NDArray[np.float32]
    """[rows, 13], in [0, 1], NaN for missing."""
    categorical: npt.NDArray[np.int32]
    """[rows, 26], ids local to their column."""
    label: npt.NDArray[np.uint8]
    """[rows], 0 or 1."""


def write_shard(path: Path, row_groups: Iterable[Sequence[npt.NDArray[Any]]]) -> ShardEntry:
    """Write a shard, atomically; the same rows give the same bytes.

    Args:
        path: ``…/SPLIT/part-….parquet``; the folder must exist.
        row_groups: For each its columns in the order of `SHARD_SCHEMA`, arrays of those types.

    Returns:
        The shard's line in the manifest, its path being ``SPLIT/part-….parquet``.

    Raises:
        OutputError: the disk is full.
    """
    rows = positives = 0
    with (
        atomic_path(path, unique=True) as partial,
        pq.ParquetWriter(
            partial,
            SHARD_SCHEMA,
            use_dictionary=False,
            compression="none",
            column_encoding=_ENCODINGS,
            write_statistics=False,
            store_schema=False,
        ) as writer,
    ):
        for label, *features in row_groups:
            columns = [pa.array(column) for column in (label, *features)]
            writer.write_table(pa.Table.from_arrays(columns, schema=SHARD_SCHEMA), len(label))
            rows += len(label)
            positives += int(np.count_nonzero(label))
    return ShardEntry(
        path=f"{path.parent.name}/{path.name}",
        bytes=path.stat().st_size,
        crc32=file_crc32(path),
        rows=rows,
        positives=positives,
    )


def row_group_sizes(shards: Sequence[ShardEntry], row_group_rows: int) -> npt.NDArray[np.int64]:
    """[groups] rows of every row group of a split, through its shards in order."""
    sizes: list[int] = []
    for shard in shards:
        full, rest = divmod(shard.rows, row_group_rows)
        sizes += [row_group_rows] * full + [rest] * (rest > 0)
    return np.array(sizes, np.int64)


class ShardReader:
    """Reads the row groups of a split, numbered through all its shards in order.

    Not for use by several threads at once: give each its own.

    Args:
        folder: The data set's folder.
        shards: The split's shards, as the manifest lists them.
        row_group_rows: Rows of every row group but a shard's last (manifest).
        categories: Size of the id space of C1..C26 (manifest).
        verified: Compares each shard with its checksum when it is opened, where that is due;
            readers may share it. ``None`` compares no checksums.
    """

    def __init__(
        self,
        folder: Path,
        shards: Sequence[ShardEntry],
        row_group_rows: int,
        categories: Sequence[int],
        verified: VerifiedFiles | None,
    ) -> None:
        self._folder = folder
        self._shards = shards
        self._row_group_rows = row_group_rows
        self._first_group = np.cumsum([0, *(-(-s.rows // row_group_rows) for s in shards)])
        self._categories = categories
        self._verified = verified
        self._open: OrderedDict[int, pq.ParquetFile] = OrderedDict()

    def read(self, group: int) -> RowGroup:
        """Decode a row group, in the order it was written.

        Raises:
            DataSetError: the shard is missing, damaged, not the one the manifest lists, or holds
                a value that is none.
        """
        shard = int(np.searchsorted(self._first_group, group, side="right")) - 1
        file = self._file(shard)
        try:
            # One core's work: the loader has its own threads, Arrow's would fight them.
            table = file.read_row_group(group - self._first_group[shard], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(shard, error) from error
        # Arrow's own ``to_numpy`` loads pandas where it is installed.
        columns: list[npt.NDArray[Any]] = [np.from_dlpack(c.chunk(0)) for c in table.columns]
        label, *features = columns
        self._check_values(shard, label, features)
        # Into an array of ours, for np.stack alone would choose Fortran order.
        numeric = np.empty((len(table), 13), np.float32)
        categorical = np.empty((len(table), 26), np.int32)
        return RowGroup(
            numeric=np.stack(features[:13], axis=1, out=numeric),
            categorical=np.stack(features[13:], axis=1, out=categorical),
            label=label,
        )

    def close(self) -> None:
        """Close the open files."""
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, shard: int) -> pq.ParquetFile:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        entry = self._shards[shard]
        if self._verified is not None:
            self._verified.check(self._folder, entry)
        try:
            file = pq.ParquetFile((self._folder / entry.path).absolute())
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(shard, error) from error
        self._check(shard, file.metadata, file.schema_arrow)
        self._open[shard] = file
        if len(self._open) > OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        return file

    def _check(self, shard: int, metadata: pq.FileMetaData, schema: pa.Schema) -> None:
        """Refuse a file that is sound, yet not the shard that the order was planned for."""
        entry = self._shards[shard]
        expected = row_group_sizes([entry], self._row_group_rows).tolist()
        found = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        if found != expected or not schema.equals(SHARD_SCHEMA):
            raise DataSetError(
                f"{self._folder / entry.path} is not the shard that the manifest lists "
                f"({entry.rows:,} rows in {len(expected)} row groups; the file has "
                f"{metadata.num_rows:,} in {len(found)}, {len(schema)} columns): "
                "restore it or prepare the set again"
            )

    def _check_values(
        self, shard: int, label: npt.NDArray[np.uint8], features: Sequence[npt.NDArray[Any]]
    ) -> None:
        """Refuse values that no preparation writes: they would be read as another column's."""
        wrong = LABEL if label.max(initial=0) > 1 else None
        for column, values in zip(INTEGER_COLUMNS, features[:13], strict=True):
            if ((values < 0) | (values > 1)).any():  # neither is true of NaN
                wrong = column
        for column, ids, values in zip(
            CATEGORICAL_COLUMNS, self._categories, features[13:], strict=True
        ):
            if values.view(np.uint32).max(initial=0) >= ids:  # negative ids become large ones
                wrong = column
        if wrong:
            raise DataSetError(
                f"{self._folder / self._shards[shard].path} holds a {wrong} that is out of range: "
                "it is not the shard that this set was made with; prepare the set again"
            )

    def _unreadable(self, shard: int, error: Exception) -> DataSetError:
        return DataSetError(
            f"{self._folder / self._shards[shard].path} cannot be read ({error}): "
            "restore it or prepare the set again"
        )
