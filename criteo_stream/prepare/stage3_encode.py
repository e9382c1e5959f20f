"""Stage 3, encode: the scratch of each block becomes shards, one a split."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from criteo_stream.base.errors import OutputError
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.progress import Progress
from criteo_stream.base.records import checksum_of, write_record
from criteo_stream.base.reserved_ids import MISSING_ID
from criteo_stream.base.schema import (
    CATEGORICAL_COLUMNS,
    FEATURE_COLUMNS,
    INTEGER_COLUMNS,
    LABEL,
    ROW_GROUP_ROWS,
    SPLITS,
)
from criteo_stream.base.storage import make_folder
from criteo_stream.data.manifest import ShardEntry
from criteo_stream.data.shards import write_shard
from criteo_stream.prepare.codes import CodeArray
from criteo_stream.prepare.counts import UInt32Array, from_sortable
from criteo_stream.prepare.quantiles import QuantileTable
from criteo_stream.prepare.scratch import open_rows, open_values, remove_scratch
from criteo_stream.prepare.stage_context import StageContext
from criteo_stream.prepare.value_ids import Lookup
from criteo_stream.prepare.work_records import (
    RESTART,
    ROWS,
    BlockRecord,
    EncodedBlock,
    Written,
    damaged,
    verify,
)
from criteo_stream.prepare.workspace import Workspace

_SLICE_VALUES: Final = 1 << 16
"""Values whose quantiles or ids are looked up at a time."""
_BYTES_PER_VALUE: Final = 4
"""What a distinct value of a block becomes in the shards."""
_BYTES_PER_BLOCK: Final = 60_000_000
"""Held beside that while a block is encoded: a row group, its copies in Arrow, look-ups."""

Shards = dict[str, ShardEntry]
"""A block's shard per split that has rows in it."""


class ShardStage:
    """Encodes blocks into shards; finished blocks are kept for the next try.

    Args:
        context: where the blocks are, and who does the work.
        tables: per integer column.
        lookups: per categorical column.
        fit: identity of the two.
        progress: is told of rows as they are encoded.
    """

    def __init__(
        self,
        context: StageContext,
        tables: Mapping[str, QuantileTable],
        lookups: Mapping[str, Lookup],
        *,
        fit: str,
        progress: Progress,
    ) -> None:
        self._workspace = context.workspace
        self._pool = context.pool
        self._progress = progress
        self._budget = context.budget
        self._fit = fit
        self._tables = tables
        self._lookups = lookups

    def encode(
        self, records: Sequence[BlockRecord], done: Mapping[int, Shards]
    ) -> dict[str, list[ShardEntry]]:
        """Encode the blocks that are not `done`; the shards of each split, in order.

        Raises:
            OutputError: scratch, or a shard that an earlier try left, is missing or damaged.
        """
        for split in SPLITS:
            make_folder(self._workspace.data.split(split))
        for _ in self._pool.map(self._verify_shards, done.values()):
            pass
        for number in done:  # a try that was killed may have left it
            remove_scratch(self._workspace.blocks, records[number])
        left = [(i, record) for i, record in enumerate(records) if i not in done]
        values = max((sum(record.runs.values()) for _, record in left), default=0)
        in_flight = self._budget.blocks_in_flight(_BYTES_PER_BLOCK + _BYTES_PER_VALUE * values)
        written = dict(done)
        new = ordered_map(self._pool, self._encode_block, left, in_flight)
        written |= {number: shards for (number, _), shards in zip(left, new, strict=True)}
        return {
            split: [written[i][split] for i in range(len(records)) if split in written[i]]
            for split in SPLITS
        }

    def _verify_shards(self, shards: Shards) -> None:
        for entry in shards.values():
            path = self._workspace.data.path / entry.path
            verify(path, Written(bytes=entry.bytes, crc32=entry.crc32))

    def _encode_block(self, numbered: tuple[int, BlockRecord]) -> Shards:
        number, record = numbered
        self._refuse_lost(number, record)
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
        encoded = EncodedBlock(made_from=_made_from(record, self._fit), shards=shards)
        write_record(self._workspace.shards(number), encoded)
        remove_scratch(self._workspace.blocks, record)
        return shards

    def _refuse_lost(self, number: int, record: BlockRecord) -> None:
        scratch = self._workspace.blocks / f"{record.name}{ROWS}"
        if not scratch.exists():
            raise OutputError(
                f"{scratch} is missing, and {self._workspace.shards(number)} does not say that it "
                f"is no longer needed: restore it, or {RESTART}"
            )

    def _meanings(self, values: Mapping[str, UInt32Array]) -> dict[str, npt.NDArray[Any]]:
        """Per column, the quantile or id that each code becomes in the shards."""
        meanings: dict[str, npt.NDArray[Any]] = {}
        for column in INTEGER_COLUMNS:
            meaning = np.empty(1 + len(values[column]), np.float32)
            meaning[0] = np.nan
            for part in _slices(len(values[column])):
                integers = from_sortable(values[column][part])
                meaning[1:][part] = self._tables[column].transform(integers)
            meanings[column] = meaning
        for column in CATEGORICAL_COLUMNS:
            ids = np.empty(1 + len(values[column]), np.int32)
            ids[0] = MISSING_ID
            for part in _slices(len(values[column])):
                ids[1:][part] = self._lookups[column].ids(values[column][part])
            meanings[column] = ids
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


def _slices(length: int) -> Iterator[slice]:
    for low in range(0, length, _SLICE_VALUES):
        yield slice(low, low + _SLICE_VALUES)


def _made_from(record: BlockRecord, fit: str) -> str:
    return checksum_of({"block": record.fingerprint, "fit": fit})


def encoded_blocks(
    workspace: Workspace, records: Sequence[BlockRecord], fit: str
) -> dict[int, Shards]:
    """The shards that an earlier try made of these blocks with this fit, by number of their block.

    Raises:
        OutputError: a record is damaged.
    """
    done: dict[int, Shards] = {}
    for number, record in enumerate(records):
        path = workspace.shards(number)
        found = workspace.find(path, EncodedBlock)
        if found is None or found.made_from != _made_from(record, fit):
            continue
        expected = {
            split: (f"{split}/{workspace.data.shard(split, number).name}", rows)
            for split, rows in zip(SPLITS, record.rows, strict=True)
            if rows
        }
        if {s: (entry.path, entry.rows) for s, entry in found.shards.items()} != expected:
            raise damaged(path, "its shards are not those of its block")
        done[number] = found.shards
    return done
