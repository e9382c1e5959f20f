"""Stage 3, encode: the scratch of each block becomes shards, one a split."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from criteo_stream.base.errors import OutputError
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.progress import Progress
from criteo_stream.base.reserved_ids import MISSING_ID
from criteo_stream.base.schema import (
    CATEGORICAL_COLUMNS,
    FEATURE_COLUMNS,
    INTEGER_COLUMNS,
    LABEL,
    ROW_GROUP_ROWS,
    SPLITS,
)
from criteo_stream.base.storage import make_folder, write_json
from criteo_stream.data.manifest import ShardEntry
from criteo_stream.data.shards import write_shard
from criteo_stream.prepare.codes import CodeArray
from criteo_stream.prepare.counts import UInt32Array, from_sortable
from criteo_stream.prepare.quantiles import QuantileTable
from criteo_stream.prepare.scratch import open_rows, open_values, remove_scratch
from criteo_stream.prepare.stage_context import StageContext
from criteo_stream.prepare.value_ids import Lookup
from criteo_stream.prepare.workspace import BlockRecord, Workspace

Shards = dict[str, ShardEntry]
"""A block's shard per split that has rows in it."""


class ShardStage:
    """Encodes blocks into shards; finished blocks are kept for the next try.

    Args:
        context: where the blocks are, and who does the work.
        tables: per integer column.
        lookups: per categorical column.
        progress: is told of rows as they are encoded.
    """

    def __init__(
        self,
        context: StageContext,
        tables: Mapping[str, QuantileTable],
        lookups: Mapping[str, Lookup],
        *,
        progress: Progress,
    ) -> None:
        self._workspace = context.workspace
        self._pool = context.pool
        self._progress = progress
        self._in_flight = context.budget.threads
        self._tables = tables
        self._lookups = lookups

    def encode(
        self, records: Sequence[BlockRecord], done: Mapping[int, Shards]
    ) -> dict[str, list[ShardEntry]]:
        """Encode the blocks that are not `done`; the shards of each split, in order."""
        for split in SPLITS:
            make_folder(self._workspace.data.split(split))
        for number in done:  # a try that was killed may have left it
            remove_scratch(self._workspace.blocks, records[number])
        left = [(i, record) for i, record in enumerate(records) if i not in done]
        written = dict(done)
        new = ordered_map(self._pool, self._encode_block, left, self._in_flight)
        written |= {number: shards for (number, _), shards in zip(left, new, strict=True)}
        return {
            split: [written[i][split] for i in range(len(records)) if split in written[i]]
            for split in SPLITS
        }

    def _encode_block(self, numbered: tuple[int, BlockRecord]) -> Shards:
        number, record = numbered
        rows = open_rows(self._workspace.blocks, record)
        meanings = self._meanings(open_values(self._workspace.blocks, record))
        shards: Shards = {}
        start = 0
        for split, count in zip(SPLITS, record.rows, strict=True):
            if count:
                path = self._workspace.data.shard(split, number)
                groups = _row_groups(rows, meanings, start, start + count)
                shards[split] = write_shard(path, self._counted(groups))
                start += count
        write_json(self._workspace.shards(number), {s: asdict(e) for s, e in shards.items()})
        remove_scratch(self._workspace.blocks, record)
        return shards

    def _meanings(self, values: Mapping[str, UInt32Array]) -> dict[str, npt.NDArray[Any]]:
        """Per column, the quantile or id that each code becomes in the shards."""
        meanings: dict[str, npt.NDArray[Any]] = {}
        for column in INTEGER_COLUMNS:
            quantiles = self._tables[column].transform(from_sortable(values[column]))
            meanings[column] = np.concatenate([[np.nan], quantiles]).astype(np.float32)
        for column in CATEGORICAL_COLUMNS:
            ids = self._lookups[column].ids(values[column])
            meanings[column] = np.concatenate([[MISSING_ID], ids], dtype=np.int32)
        return meanings

    def _counted(
        self, groups: Iterator[list[npt.NDArray[Any]]]
    ) -> Iterator[list[npt.NDArray[Any]]]:
        for group in groups:
            yield group
            self._progress.advance(len(group[0]))


def _row_groups(
    rows: Mapping[str, CodeArray],
    meanings: Mapping[str, npt.NDArray[Any]],
    start: int,
    stop: int,
) -> Iterator[list[npt.NDArray[Any]]]:
    for low in range(start, stop, ROW_GROUP_ROWS):
        part = slice(low, min(low + ROW_GROUP_ROWS, stop))
        yield [rows[LABEL][part], *(meanings[c].take(rows[c][part]) for c in FEATURE_COLUMNS)]


def encoded_blocks(workspace: Workspace, blocks: int) -> dict[int, Shards]:
    """The shards that an earlier try finished, by number of their block, of so many blocks.

    Raises:
        OutputError: one of them is not as it was written.
    """
    done: dict[int, Shards] = {}
    for number in range(blocks):
        path = workspace.shards(number)
        if path.exists():
            raw = json.loads(path.read_text())
            done[number] = {split: ShardEntry(**entry) for split, entry in raw.items()}
            for entry in done[number].values():
                _refuse_altered(workspace.data.path / entry.path, entry)
    return done


def _refuse_altered(path: Path, entry: ShardEntry) -> None:
    size = path.stat().st_size if path.exists() else None
    if size != entry.bytes:
        found = "is missing" if size is None else f"has {size:,} bytes instead of {entry.bytes:,}"
        raise OutputError(
            f"{path}, written by an earlier try, {found}: put it back, or start over with --restart"
        )
