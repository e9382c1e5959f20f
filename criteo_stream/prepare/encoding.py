"""Stage 3, encode: the scratch of each work unit becomes shards, one a split."""

import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from criteo_stream.manifest import ShardEntry
from criteo_stream.parallel import ordered_map
from criteo_stream.prepare.encode import Encoder
from criteo_stream.prepare.units import read_rows, remove_rows
from criteo_stream.prepare.workspace import UnitRecord, Workspace
from criteo_stream.progress import Progress
from criteo_stream.schema import LABEL, SPLITS
from criteo_stream.shards import write_shard
from criteo_stream.storage import write_json

Shards = dict[str, ShardEntry]
"""A unit's shard per split that has rows in it."""


class ShardStage:
    """Encodes units into shards; finished units are kept for the next try."""

    def __init__(
        self, workspace: Workspace, pool: Executor, encoder: Encoder, progress: Progress
    ) -> None:
        self._workspace = workspace
        self._pool = pool
        self._encoder = encoder
        self._progress = progress

    def encode(self, records: Sequence[UnitRecord], in_flight: int) -> dict[str, list[ShardEntry]]:
        """Encode all units; the shards of each split, in order."""
        for split in SPLITS:
            (self._workspace.out / split).mkdir(exist_ok=True)
        shards: dict[str, list[ShardEntry]] = {split: [] for split in SPLITS}
        numbered = list(enumerate(records))
        written = ordered_map(self._pool, self._encode_unit, numbered, in_flight)
        for record, entries in zip(records, written, strict=True):
            for split, entry in entries.items():
                shards[split].append(entry)
            self._progress.advance(sum(record.rows))
        return shards

    def _record(self, number: int) -> Path:
        return self._workspace.encoded / f"{number:05d}.json"

    def done(self, number: int) -> Shards | None:
        """The shards of a unit that an earlier try finished."""
        try:
            raw = json.loads(self._record(number).read_text())
        except FileNotFoundError:
            return None
        return {split: ShardEntry(**entry) for split, entry in raw.items()}

    def _encode_unit(self, numbered: tuple[int, UnitRecord]) -> Shards:
        number, record = numbered
        if (done := self.done(number)) is not None:
            return done
        rows = read_rows(self._workspace.units, record)
        shards: Shards = {}
        start = 0
        for split, count in zip(SPLITS, record.rows, strict=True):
            if count:
                part = rows.slice(start, count)
                shards[split] = write_shard(
                    self._workspace.out / split / f"part-{number:05d}.parquet",
                    part[LABEL].to_numpy().astype(np.uint8),
                    self._encoder.numeric(part),
                    self._encoder.categorical(part),
                )
                start += count
        assert start == rows.height, f"unit {record.name}: {start} of {rows.height} rows written"
        write_json(self._record(number), {split: asdict(e) for split, e in shards.items()})
        remove_rows(self._workspace.units, record)
        return shards
