"""The working folder of an unfinished data set: who uses it, what it is for, what is done.

``DATA/.work`` holds the scratch of a preparation and a record of every finished piece of work.
A record is written after the files it speaks of, so a piece without one is simply done again.
A record that is damaged is refused: see `work_records`.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from criteo_stream.base.errors import OutputError
from criteo_stream.base.records import RecordError, parse_json, read_record, unsealed, write_record
from criteo_stream.base.schema import SPLITS
from criteo_stream.base.storage import (
    final_name,
    full_disk_explained,
    locked_folder,
    make_folder,
    read_bytes,
    utf8_path,
)
from criteo_stream.data.folder import DataFolder
from criteo_stream.prepare.lease import Lease, leased, owner_name, wait_for_owner
from criteo_stream.prepare.ownership import (
    BEFORE_NAME,
    clear,
    finish_clearing,
    refuse_foreign,
)
from criteo_stream.prepare.task import refuse_other_task
from criteo_stream.prepare.work_records import RESTART, BlockRecord, block_name, damaged

_FORMAT: Final = 6
"""Version of the files in the working folder; unfinished work of any other is refused.

Raise it with every change of what a stage writes, be it other bytes of the same meaning: work that
one version of the package began is finished by another as long as this is the same.
"""

_Record = TypeVar("_Record")


class Workspace:
    """The working folder of one output folder; use `opened`."""

    def __init__(self, out: Path) -> None:
        self.data = DataFolder(out)
        self.lease: Lease | None = None
        """Of this process, where hosts share the folder."""
        self.blocks = self.data.work / "blocks"
        """Scratch of the blocks that were read and are not yet encoded, and their records."""
        self._task = self.data.work / "task.json"
        self._fit = self.data.work / "fit"
        self._encoded = self.data.work / "encoded"
        self.plans = self.data.work / "plans"
        """Of the stage that is at work, see `stage_plan`."""

    def lines(self, source: int) -> Path:
        """Where the number of an input's lines is kept, if it had to be counted."""
        return self._fit / f"lines-{source:05d}.json"

    def fitted(self, column: str) -> Path:
        """The record of a fitted column."""
        return self._fit / f"{column}.json"

    def table(self, column: str) -> Path:
        """An integer column's quantile table, to encode with."""
        return self._fit / f"{column}.table"

    def lookup(self, column: str) -> Path:
        """A categorical column's known values and their ids, to encode with."""
        return self._fit / f"{column}.lookup"

    @property
    def before(self) -> DataFolder:
        """The fit that is extended, copied: a data set's folder without shards."""
        return DataFolder(self.data.work / BEFORE_NAME)

    def sorted_before(self, column: str) -> Path:
        """A categorical column's values before, in ascending order."""
        return self._fit / f"{column}.before"

    def shards(self, number: int) -> Path:
        """The record of the shards of block ``number``, counted over all inputs."""
        return self._encoded / f"{number:05d}.json"

    @classmethod
    @contextmanager
    def opened(
        cls,
        out: Path,
        *,
        restart: bool,
        shared: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Iterator["Workspace"]:
        """Lock the output folder for this process.

        Args:
            out: the data set's folder.
            restart: drop what is there.
            shared: own it among all hosts, not only on this one.
            tell: hears of another owner, who may be gone and is waited for.

        Raises:
            OutputError: another process holds it, or it holds files that are not a data set's.
            UsageError: its path is not UTF-8.
        """
        workspace = cls(utf8_path(out))
        with full_disk_explained(out):
            refuse_foreign(workspace.data)
            make_folder(out)
        busy = OutputError(
            f"{owner_name(out)} is preparing {out}: wait for it, or choose another --out"
        )
        with locked_folder(out, busy), ExitStack() as stack:
            if shared:
                workspace.lease = stack.enter_context(leased(out, tell))
            else:
                wait_for_owner(out, tell)
            refuse_foreign(workspace.data)  # again, now that nobody else changes it
            finish_clearing(workspace.data)
            if restart:
                clear(workspace.data)
            yield workspace

    def begin(self, task: dict[str, object]) -> None:
        """Start the work, or continue the same work; what a killed try left half-made is removed.

        Raises:
            OutputError: the folder holds other work: names what differs; or it is damaged.
        """
        folders = (self.blocks, self._fit, self._encoded, self.plans)
        if self._task.exists():
            refuse_other_task(self.data.path, self._read_task(), task)
        elif any(folder.exists() for folder in folders):
            raise OutputError(f"{self._task} is missing: {RESTART}")
        with full_disk_explained(self.data.path):
            make_folder(self.data.work)
            if not self._task.exists():  # first of all, so that the folder says whose it is
                write_record(self._task, {"workspace": _FORMAT, **task})
            for folder in folders:
                make_folder(folder)
            for folder in (self.data.work, *folders):
                _remove_half_made(folder)
            self.tidy()
            for plan in self.plans.iterdir():
                plan.unlink()

    def tidy(self) -> None:
        """Remove what tasks that were killed left half-made among the set's files."""
        for folder in (self.data.vocabularies, self.data.all_counts, *map(self.data.split, SPLITS)):
            _remove_half_made(folder)

    def _read_task(self) -> dict[str, object]:
        try:
            raw = parse_json(read_bytes(self._task))
            task = raw if _is_unsealed(raw) else unsealed(raw)
        except (RecordError, OSError) as error:
            raise damaged(self._task, str(error)) from None
        if task.pop("workspace", None) != _FORMAT:
            raise OutputError(
                f"{self.data.path} holds unfinished work of another version of this package: "
                f"finish it with that version, or {RESTART}"
            )
        if not isinstance(task.get("package_version"), str):
            raise damaged(self._task, "package_version is no text")
        return task

    def finished_blocks(self, source: int, task: str) -> list[BlockRecord]:
        """The blocks of an input that were read for this task, from its start on.

        Those after a gap are read again.

        Raises:
            OutputError: a record is damaged.
        """
        done: list[BlockRecord] = []
        while not (done and done[-1].last):
            record = self.find_block(source, len(done), task)
            if record is None:
                break
            if record.end.lines != record.lines + (done[-1].end.lines if done else 0):
                place = f"{done[-1].name} ends" if done else "its input begins"
                raise damaged(self._block(record.name), f"it does not begin where {place}")
            done.append(record)
        return done

    def find_block(self, source: int, block: int, task: str) -> BlockRecord | None:
        """The record of a block of an input, if it was read for this task.

        Raises:
            OutputError: the record is damaged.
        """
        name = block_name(source, block)
        record = self.find(self._block(name), BlockRecord)
        if record is None or record.task != task:
            return None
        if record.name != name:
            what = f"it is of block {record.block} of input {record.source}"
            raise damaged(self._block(name), what)
        return record

    def record_block(self, record: BlockRecord) -> None:
        """Record a block whose scratch is written."""
        write_record(self._block(record.name), record, unique=True)

    def _block(self, name: str) -> Path:
        return self.blocks / f"{name}.json"

    def read(self, path: Path, kind: type[_Record]) -> _Record:
        """Read the record of a finished piece of work.

        Raises:
            FileNotFoundError: the piece is not finished.
            OutputError: the record is damaged.
        """
        return read_record(path, kind, error=OutputError, remedy=RESTART)

    def find(self, path: Path, kind: type[_Record]) -> _Record | None:
        """Read the record of a piece of work, if it is finished.

        Raises:
            OutputError: the record is damaged.
        """
        return self.read(path, kind) if path.exists() else None

    def remove(self) -> None:
        """Remove the working folder, after the manifest is written."""
        shutil.rmtree(self.data.work, ignore_errors=True)


def _is_unsealed(task: object) -> bool:
    """Whether a task is of a form before the third, when tasks carried no checksum."""
    return (
        isinstance(task, dict) and "checksum" not in task and task.get("workspace") in (None, 1, 2)
    )


def _remove_half_made(folder: Path) -> None:
    """Remove what a killed try was writing, under the names that it has until it is whole."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if final_name(path.name) and not path.is_dir():
            path.unlink()
