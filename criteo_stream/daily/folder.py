"""The folder of a progressive validation, ``OUT/``: sets and runs by day, and the table.

A day's record is written when its run is trained; a day without one is simply done again, and
what is finished of it is found so.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from criteo_stream.base.as_typed import changed_option
from criteo_stream.base.errors import OutputError
from criteo_stream.base.options import declared
from criteo_stream.base.records import (
    Count,
    Fingerprint,
    Number,
    RecordError,
    Share,
    first_difference,
    from_plain,
    parse_json,
    sealed_line,
    unsealed,
    write_record,
)
from criteo_stream.base.storage import (
    full_disk_explained,
    locked_folder,
    make_folder,
    read_bytes,
    utf8_path,
    write_bytes,
)
from criteo_stream.prepare.options import PrepareOptions
from criteo_stream.runs.config import TrainConfig

_TRASH: Final = ".removed"
"""Holds a set or run that is being removed."""


@dataclass(frozen=True, kw_only=True)
class DayRecord:
    """A day that was predicted by the run of the day before, and then learned from."""

    day: Count
    """Counted from 0."""
    name: str
    """Of its raw log."""
    source: str
    """Where that was."""
    rows: Count
    positives: Count
    auc: Share | None
    log_loss: Number | None
    ne: Number | None
    calibration: Number | None
    """Of the run of the day before on all rows of this one; None on the first day."""
    ids: Count
    """Known values, over all categorical columns, after this day."""
    new_ids: Count
    """Those of them that this day added."""
    oov_before: Share | None
    """Share of this day's values without an id the day before, mean of the categorical columns."""
    oov_after: Share | None
    """The same with the ids of this day."""
    data: Fingerprint
    """Of the day's set."""


class ProgressiveFolder:
    """``OUT/``: names of what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = utf8_path(path)
        self.plot = self.path / "days.png"
        self._days = self.path / "days.jsonl"
        self._task = self.path / "task.json"

    def data(self, day: int) -> Path:
        """A day's set."""
        return self.path / "sets" / f"day-{day:04d}"

    def run(self, day: int) -> Path:
        """The run that has learned from the days up to this one."""
        return self.path / "runs" / f"day-{day:04d}"

    @contextmanager
    def opened(self, task: dict[str, object]) -> Iterator[None]:
        """Hold the folder for this process, for what it was begun with.

        Raises:
            OutputError: it holds something else, another process works in it, or it was begun with
                other options: names what differs.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} exists and is not a folder: choose another --out")
        found = sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []
        if found and not self._task.is_file():
            raise OutputError(
                f"{self.path} is not empty and holds no days (found {found[0]}): "
                "choose another --out"
            )
        with full_disk_explained(self.path):
            for folder in (self.path, self.path / "sets", self.path / "runs"):
                if folder.is_symlink():
                    raise OutputError(f"{folder} is a link: put the folder itself there")
                make_folder(folder)
        busy = OutputError(
            f"another process works in {self.path}: wait for it, or choose another --out"
        )
        with locked_folder(self.path, busy):
            self._begin(task)
            shutil.rmtree(self.path / _TRASH, ignore_errors=True)
            yield

    def _begin(self, task: dict[str, object]) -> None:
        if not self._task.exists():
            write_record(self._task, task)
            return
        try:
            begun = unsealed(parse_json(read_bytes(self._task)))
        except (RecordError, OSError) as error:
            raise OutputError(
                f"{self._task} is damaged ({error}): restore it, or choose another --out"
            ) from None
        if name := first_difference(begun, task):
            raise OutputError(
                f"{self.path} was begun {_changed(name, begun, task)}: give the same again, "
                "or choose another --out"
            )

    def records(self) -> list[DayRecord]:
        """The days that are done, in order.

        Raises:
            OutputError: the table is damaged.
        """
        try:
            content = read_bytes(self._days)
        except FileNotFoundError:
            return []
        found: list[DayRecord] = []
        for number, line in enumerate(content.splitlines()):
            try:
                record = from_plain(unsealed(parse_json(line)), DayRecord)
                if record.day != number:
                    raise RecordError(f"it is of day {record.day}")
            except RecordError as error:
                raise OutputError(
                    f"{self._days}, line {number + 1} is damaged ({error}): restore the file, or "
                    "remove this line and those after it to do these days again"
                ) from None
            found.append(record)
        return found

    def write(self, records: Sequence[DayRecord]) -> None:
        """Write the table of days, whole."""
        lines = (sealed_line(asdict(record)) for record in records)
        write_bytes(self._days, "".join(lines).encode())

    def remove_before(self, day: int) -> None:
        """Remove the sets and runs of the days before one; none is ever found half removed."""
        trash = self.path / _TRASH
        for number in range(day):
            for path in (self.data(number), self.run(number)):
                if path.is_dir() and not path.is_symlink():
                    trash.mkdir(exist_ok=True)
                    path.rename(trash / f"{path.parent.name}-{path.name}")
        shutil.rmtree(trash, ignore_errors=True)


def _changed(name: str, begun: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    known = {**declared(PrepareOptions), **declared(TrainConfig)}
    flag = known[name].flag if name in known else name
    return changed_option(flag, begun.get(name), wanted.get(name))
