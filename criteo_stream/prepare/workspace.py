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
from typing import Any, Final

from criteo_stream.base.errors import OutputError
from criteo_stream.base.storage import full_disk_explained, locked_folder, write_json
from criteo_stream.data.manifest import MANIFEST_NAME
from criteo_stream.prepare.inputs import Position

WORK_FOLDER: Final = ".work"
_TASK_NAME: Final = "task.json"


@dataclass(frozen=True, kw_only=True)
class InputState:
    """What tells whether a file was touched since: a write always moves ``ctime_ns``."""

    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "InputState":
        """The state of a file now."""
        stat = path.stat()
        return cls(
            bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            ctime_ns=stat.st_ctime_ns,
            inode=stat.st_ino,
        )


@dataclass(frozen=True, kw_only=True)
class UnitRecord:
    """A finished work unit of the fit: up to `schema.BLOCK_ROWS` lines of one input."""

    source: int
    """Number of the input, in natural order."""
    block: int
    """Number of the unit within its input."""
    state: InputState
    """Of the input, when the unit was read."""
    lines: int
    end: Position
    """Of the unit in its input."""
    last: bool
    """Whether the input ends with this unit."""
    rows: list[int]
    """Valid rows per split: train, valid, test."""
    missing: dict[str, int]
    """Per column, in the training rows."""
    sums: dict[str, int]
    """Per integer column, over the training rows."""
    runs: dict[str, int]
    """Per column: distinct values in the training rows."""
    rejected: int
    rejects: list[dict[str, Any]]
    """The first of them."""
    files: dict[str, str]
    """CRC-32 of the unit's scratch files."""

    @property
    def name(self) -> str:
        """The base of the unit's file names."""
        return unit_name(self.source, self.block)


def unit_name(source: int, block: int) -> str:
    """The base of a work unit's file names."""
    return f"{source:05d}-{block:05d}"


class Workspace:
    """The working folder of one output folder; use `opened`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / WORK_FOLDER
        self.units = self.folder / "units"
        self.fit = self.folder / "fit"
        self.encoded = self.folder / "encoded"

    @classmethod
    @contextmanager
    def opened(cls, out: Path, *, restart: bool) -> Iterator["Workspace"]:
        """Lock the output folder for this process.

        Raises:
            OutputError: another process holds it, or it holds files that are not a data set's.
        """
        workspace = cls(out)
        with full_disk_explained(out):
            workspace._refuse_foreign_files()
            out.mkdir(parents=True, exist_ok=True)
        busy = OutputError(
            f"another process is preparing {out}: wait for it, or choose another --out"
        )
        with locked_folder(out, busy):
            if restart:
                workspace._clear()
            yield workspace

    def _refuse_foreign_files(self) -> None:
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise OutputError(f"{self.out} exists and is not a folder: choose another --out")
        if self.folder.exists() or (self.out / MANIFEST_NAME).exists():
            return
        foreign = next(self.out.iterdir(), None)
        if foreign is not None:
            raise OutputError(
                f"{self.out} is not empty and holds no data set (found {foreign.name}): "
                "choose another --out, or empty it"
            )

    def _clear(self) -> None:
        """Remove what a preparation writes, and nothing else."""
        (self.out / MANIFEST_NAME).unlink(missing_ok=True)
        for name in ("quantiles.parquet", "rejected.jsonl"):
            (self.out / name).unlink(missing_ok=True)
        for name in ("vocabulary", "train", "valid", "test", WORK_FOLDER):
            shutil.rmtree(self.out / name, ignore_errors=True)

    def begin(self, task: dict[str, Any]) -> None:
        """Start the work, or continue the same work.

        Raises:
            OutputError: the folder holds other work: names what differs.
        """
        path = self.folder / _TASK_NAME
        if path.exists():
            refuse_other_task(self.out, json.loads(path.read_text()), task)
            return
        with full_disk_explained(self.out):
            for folder in (self.units, self.fit, self.encoded):
                folder.mkdir(parents=True, exist_ok=True)
            write_json(path, task)

    def unit_records(self) -> dict[tuple[int, int], UnitRecord]:
        """Finished units by (input, block)."""
        records = {}
        for path in sorted(self.units.glob("*.json")):
            raw = json.loads(path.read_text())
            record = UnitRecord(
                **raw | {"state": InputState(**raw["state"]), "end": Position(**raw["end"])}
            )
            records[record.source, record.block] = record
        return records

    def write_unit(self, record: UnitRecord) -> None:
        """Record a finished unit."""
        write_json(self.units / f"{record.name}.json", asdict(record))

    def remove(self) -> None:
        """Remove the working folder, after the manifest is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def refuse_other_task(out: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare what a folder was made with to what is asked for.

    Raises:
        OutputError: names the first option that differs, with both values.
    """
    for key in [*wanted, *(k for k in found if k not in wanted)]:
        if found.get(key) != wanted.get(key):
            raise OutputError(
                f"{out} was begun with {key} = {_shown(found.get(key))}, now it is "
                f"{_shown(wanted.get(key))}: give the same again, choose another --out, "
                "or start over with --restart"
            )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 200 else text[:200] + "…"
