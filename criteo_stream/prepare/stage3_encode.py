"""Stage 3, encode: the scratch of each block becomes shards, one a split."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from criteo_stream.base.errors import OutputError
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
from criteo_stream.data.manifest import ShardEntry
from criteo_stream.data.shards import write_shard
from criteo_stream.prepare.codes import CodeArray
from criteo_stream.prepare.counts import UInt32Array, from_sortable
from criteo_stream.prepare.host import Host
from criteo_stream.prepare.host_copies import HostCopies
from criteo_stream.prepare.quantiles import open_table
from criteo_stream.prepare.scratch import open_rows, open_values
from criteo_stream.prepare.stage_plan import EncodePlan, check_wanted
from criteo_stream.prepare.value_ids import open_lookup
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


class EncodeWork:
    """Encodes blocks into shards.

    Args:
        path: of the plan.
        plan: the blocks, and the fit to encode them with.
        host: gives the memory that blocks may take.
        progress: is told of rows as they are encoded; default nobody.
    """

    plan_of = EncodePlan

    def __init__(
        self, path: Path, plan: EncodePlan, host: Host, progress: Progress | None = None
    ) -> None:
        self.plan = plan
        self._path = path
        self._host = host
        self._progress = progress
        self._workspace = plan.workspace
        workspace = self._workspace
        paths = {c: workspace.table(c) for c in INTEGER_COLUMNS}
        paths |= {c: workspace.lookup(c) for c in CATEGORICAL_COLUMNS}
        with ExitStack() as stack:
            if plan.shared:
                copies = HostCopies()
                stack.callback(copies.close)
                paths = {c: copies.of(paths[c], plan.files[c], f"{plan.fit}-{c}") for c in paths}
            self._tables = {c: open_table(paths[c]) for c in INTEGER_COLUMNS}
            self._lookups = {c: open_lookup(paths[c]) for c in CATEGORICAL_COLUMNS}
            self._copies = stack.pop_all()
        values = max((sum(record.runs.values()) for record in plan.blocks), default=0)
        self._at_a_time = host.budget.blocks_in_flight(_BYTES_PER_BLOCK + _BYTES_PER_VALUE * values)

    def close(self) -> None:
        """Let go of the copies of tables and lookups."""
        self._copies.close()

    def encode(self, number: int) -> None:
        """Encode a block: write its shards, then their record.

        Raises:
            OutputError: scratch is missing or damaged, or the disk is full.
            StoppedError: nobody wants it any more.
        """
        with self._host.slot("encode", self._at_a_time):
            check_wanted(self._path)
            record = self.plan.blocks[number]
            if encoded_block(self._workspace, number, record, self.plan.fit) is not None:
                return
            shards = self._written_shards(number, record)
            encoded = EncodedBlock(made_from=_made_from(record, self.plan.fit), shards=shards)
            check_wanted(self._path)
            write_record(self._workspace.shards(number), encoded, unique=True)

    def _written_shards(self, number: int, record: BlockRecord) -> Shards:
        self._refuse_lost(number, record)
        rows = open_rows(self._workspace.blocks, record)
        meanings = self._meanings(open_values(self._workspace.blocks, record))
        shards: Shards = {}
        start = 0
        for split, count in zip(SPLITS, record.rows, strict=True):
            if count:
                path = self._workspace.data.shard(split, number)
                groups = _row_groups(rows, meanings, start, start + count)
                shards[split] = write_shard(path, self._watched(groups))
                start += count
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

    def _watched(
        self, groups: Iterator[list[npt.NDArray[Any]]]
    ) -> Iterator[list[npt.NDArray[Any]]]:
        for group in groups:
            check_wanted(self._path)
            yield group
            if self._progress:
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


def encoded_block(
    workspace: Workspace, number: int, record: BlockRecord, fit: str
) -> Shards | None:
    """The shards of a block that were made with this fit; None where it is not encoded yet.

    Raises:
        OutputError: their record is damaged.
    """
    path = workspace.shards(number)
    found = workspace.find(path, EncodedBlock)
    if found is None or found.made_from != _made_from(record, fit):
        return None
    expected = {
        split: (f"{split}/{workspace.data.shard(split, number).name}", rows)
        for split, rows in zip(SPLITS, record.rows, strict=True)
        if rows
    }
    if {s: (entry.path, entry.rows) for s, entry in found.shards.items()} != expected:
        raise damaged(path, "its shards are not those of its block")
    return found.shards


def encoded_blocks(
    workspace: Workspace, records: Sequence[BlockRecord], fit: str
) -> dict[int, Shards]:
    """The shards of all blocks that were encoded with this fit, by number of their block.

    Raises:
        OutputError: a record is damaged.
    """
    found = ((n, encoded_block(workspace, n, record, fit)) for n, record in enumerate(records))
    return {number: shards for number, shards in found if shards is not None}


def verify_shards(workspace: Workspace, shards: Shards) -> None:
    """Compare a block's shards with what was written.

    Raises:
        OutputError: one is missing or damaged.
    """
    for entry in shards.values():
        verify(workspace.data.path / entry.path, Written(bytes=entry.bytes, crc32=entry.crc32))


def by_split(encoded: Mapping[int, Shards]) -> dict[str, list[ShardEntry]]:
    """The shards of each split, in the order of their blocks."""
    blocks = [encoded[number] for number in sorted(encoded)]
    return {split: [block[split] for block in blocks if split in block] for split in SPLITS}
