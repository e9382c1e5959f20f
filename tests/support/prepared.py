"""Small prepared data sets whose values tell the row they came from."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, SPLITS
from criteo_stream.data.manifest import (
    CategoricalColumn,
    InputEntry,
    Manifest,
    NumericColumn,
    ShardEntry,
)
from criteo_stream.data.shards import RowGroup, write_shard


def encoded_rows(rows: np.ndarray) -> RowGroup:
    """What the rows of these numbers hold: C1 is the number, everything else follows from it."""
    label = (rows % 3 == 0).astype(np.uint8)
    column = np.arange(13, dtype=np.float32)
    numeric = ((rows[:, None] + column) % 256 / 256).astype(np.float32)
    numeric[(rows[:, None] + np.arange(13)) % 5 == 0] = np.nan
    categorical = (rows[:, None] * np.arange(1, 27) % 1009).astype(np.int32)
    categorical[:, 0] = rows
    return RowGroup(numeric, categorical, label)


def row_groups(rows: RowGroup, size: int) -> Iterator[list[np.ndarray]]:
    """Rows cut into row groups, as columns for `write_shard`."""
    columns = [rows.label, *rows.numeric.T.copy(), *rows.categorical.T.copy()]
    for start in range(0, len(rows.numeric), size):
        yield [column[start : start + size] for column in columns]


def write_data_set(
    folder: Path,
    shard_rows: dict[str, Sequence[int]],
    *,
    row_group_rows: int = 64,
    encode: Callable[[str, np.ndarray], RowGroup] = lambda _, rows: encoded_rows(rows),
) -> Manifest:
    """A complete data set; the rows of each split are numbered from 0 through its shards.

    ``encode`` gives a split's rows of these numbers; ids of a column are below 1009, those of C1
    below the number of all rows.
    """
    shards: dict[str, list[ShardEntry]] = {split: [] for split in SPLITS}
    for split, sizes in shard_rows.items():
        (folder / split).mkdir(parents=True)
        first = 0
        for number, size in enumerate(sizes):
            group = encode(split, np.arange(first, first + size))
            path = folder / split / f"part-{number:05}.parquet"
            shards[split].append(write_shard(path, row_groups(group, row_group_rows)))
            first += size
    rows = {split: sum(entry.rows for entry in shards[split]) for split in SPLITS}
    total = sum(rows.values())
    manifest = Manifest(
        package_version="0",
        layout="kaggle",
        options={"seed": 0},
        inputs=[
            InputEntry(path="/raw", name="raw", bytes=0, mtime_ns=0, crc32="0" * 8, rows=total)
        ],
        rows=rows | {"rejected": 0, "read": total},
        row_group_rows=row_group_rows,
        min_count=10,
        numeric=[
            NumericColumn(
                column=column,
                missing=0,
                distinct=256,
                minimum=0,
                maximum=255,
                mean=127.5,
                mean_quantile=0.5,
                rank_error=0.0,
            )
            for column in INTEGER_COLUMNS
        ],
        categorical=[
            CategoricalColumn(
                column=column, missing=0, distinct=1009, oov=0, ids=1009 if i else max(total, 2)
            )
            for i, column in enumerate(CATEGORICAL_COLUMNS)
        ],
        fit_files=[],
        fit_fingerprint="0" * 16,
        shards=shards,
    )
    manifest.write(folder)
    return manifest
