"""The working folder of an unfinished data set: who uses it, what it is for, what is done.

``DATA/.work`` holds the scratch of a preparation and a record of every finished piece of work.
A record is written after the files it speaks of, so a piece without one is simply done again.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import OutputError
from criteo_stream.base.storage import full_disk_explained, locked_folder, make_folder, write_json
from criteo_stream.data.folder import DataFolder
from criteo_stream.prepare.chunks import Position
from criteo_stream.prepare.inputs import InputState
from criteo_stream.prepare.malformed import Reject
from criteo_stream.prepare.ownership import clear, finish_clearing, refuse_foreign
from criteo_stream.prepare.task import refuse_other_task

_FORMAT: Final = 2
"""Version of the files in the working folder; unfinished work of any other is refused."""


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """A block that was read: up to `schema.BLOCK_ROWS` lines of one input."""

    source: int
    """Number of the input, in natural order."""
    block: int
    """Number of the block within its input."""
    state: InputState
    """State of the input when the block was read."""
    lines: int
    end: Position
    """Where the block ends in its input."""
    last: bool
    """Whether the input ends with this block."""
    rows: list[int]
    """Valid rows per split: train, valid, test."""
    missing: dict[str, int]
    """Per column, in the training rows."""
    sums: dict[str, int]
    """Per integer column, over the training rows."""
    runs: dict[str, int]
    """Per column: distinct values of all rows."""
    rejected: int
    rejects: list[Reject]
    """The first of the malformed lines."""
    files: dict[str, str]
    """CRC-32 of the block's scratch files."""

    @property
    def name(self) -> str:
        """The base of the block's file names."""
        return block_name(self.source, self.block)


def block_name(source: int, block: int) -> str:
    """The base of a block's file names."""
    return f"{source:05d}-{block:05d}"


class Workspace:
    """The working folder of one output folder; use `opened`."""

    def __init__(self, out: Path) -> None:
        self.data = DataFolder(out)
        self.blocks = self.data.work / "blocks"
        """Scratch of the blocks that were read and are not yet encoded, and their records."""
        self._task = self.data.work / "task.json"
        self._fit = self.data.work / "fit"
        self._encoded = self.data.work / "encoded"

    def lines(self, source: int) -> Path:
        """Where the number of an input's lines is kept, if it had to be counted."""
        return self._fit / f"lines-{source:05d}.json"

    def column_facts(self, column: str) -> Path:
        """Facts about a fitted column; exists once the column is fitted."""
        return self._fit / f"{column}.json"

    def quantile_table(self, column: str) -> Path:
        """The table of one integer column."""
        return self._fit / f"{column}.parquet"

    def lookup(self, column: str) -> Path:
        """A categorical column's known values and their ids, to encode with."""
        return self._fit / f"{column}.lookup"

    def shards(self, number: int) -> Path:
        """The record of the shards of block ``number``, counted over all inputs."""
        return self._encoded / f"{number:05d}.json"

    @classmethod
    @contextmanager
    def opened(cls, out: Path, *, restart: bool) -> Iterator["Workspace"]:
        """Lock the output folder for this process; with ``restart`` drop what is there.

        Raises:
            OutputError: another process holds it, or it holds files that are not a data set's.
        """
        workspace = cls(out)
        with full_disk_explained(out):
            refuse_foreign(workspace.data)
            make_folder(out)
        busy = OutputError(
            f"another process is preparing {out}: wait for it, or choose another --out"
        )
        with locked_folder(out, busy):
            refuse_foreign(workspace.data)  # again, now that nobody else changes it
            finish_clearing(workspace.data)
            if restart:
                clear(workspace.data)
            yield workspace

    def begin(self, task: dict[str, object]) -> None:
        """Start the work, or continue the same work.

        Raises:
            OutputError: the folder holds other work: names what differs.
        """
        out = self.data.path
        if self._task.exists():
            found = json.loads(self._task.read_text())
            if found.pop("workspace", None) != _FORMAT:
                raise OutputError(
                    f"{out} holds unfinished work of another version of this package: "
                    "finish it with that version, or start over with --restart"
                )
            refuse_other_task(out, found, task)
        with full_disk_explained(out):
            make_folder(self.data.work)
            if not self._task.exists():  # first of all, so that the folder says whose it is
                write_json(self._task, {"workspace": _FORMAT, **task})
            for folder in (self.blocks, self._fit, self._encoded):
                make_folder(folder)

    def finished_blocks(self, inputs: int) -> list[list[BlockRecord]]:
        """Per input, the blocks read from its start on; those after a gap are read again."""
        done: list[list[BlockRecord]] = [[] for _ in range(inputs)]
        for path in sorted(self.blocks.glob("*.json")):
            raw = json.loads(path.read_text())
            rejects = [Reject(**reject) for reject in raw["rejects"]]
            state, end = InputState(**raw["state"]), Position(**raw["end"])
            record = BlockRecord(**raw | {"state": state, "end": end, "rejects": rejects})
            if record.block == len(done[record.source]):
                done[record.source].append(record)
        return done

    def record_block(self, record: BlockRecord) -> None:
        """Record a block whose scratch is written."""
        write_json(self.blocks / f"{record.name}.json", asdict(record))

    def remove(self) -> None:
        """Remove the working folder, after the manifest is written."""
        shutil.rmtree(self.data.work, ignore_errors=True)
