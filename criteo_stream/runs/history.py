"""The history of a run: ``history.jsonl``, a line per evaluation."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from criteo_stream.base.errors import RunError
from criteo_stream.base.storage import full_disk_explained, sync_folder, write_bytes
from criteo_stream.metrics.figures import figures_text


@dataclass(frozen=True, kw_only=True)
class HistoryLine:
    """An evaluation on the valid split in the course of training, and how training went to it."""

    epoch: int
    """Counted from 1."""
    step: int
    """Steps done, over all epochs."""
    rows: int
    """Training rows seen, over all epochs and ranks."""
    train_loss: float
    """Mean log loss of the training rows since the evaluation before, each before its update."""
    learning_rate: float
    """Learning rate of the last step."""
    auc: float | None
    log_loss: float | None
    ne: float | None
    calibration: float | None
    """Figures as in `Evaluation`; None where undefined, or where the valid split is empty."""
    rows_per_second: int
    """Training rows per second since the evaluation before."""
    waited_for_data: float
    """Share of their time that was spent waiting for the loader."""
    peak_memory_bytes: int
    """The ranks' peaks so far, added up."""

    def text(self) -> str:
        """The figures in one line."""
        return figures_text(self)

    def to_dict(self) -> dict[str, object]:
        """Plain values by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_dict`.

        Raises:
            ValueError: a value is missing.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in values]:
            raise ValueError(f"no {missing[0]}")
        return cls(**{name: values[name] for name in names})


class History:
    """Appends evaluations to a file, each line whole and synced."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: HistoryLine) -> None:
        """Add a line.

        Raises:
            OutputError: the disk is full.
        """
        with full_disk_explained(self.path), self.path.open("a", encoding="utf-8") as file:
            new = file.tell() == 0
            file.write(_written(line))
            file.flush()
            os.fsync(file.fileno())
            if new:
                sync_folder(self.path.parent)

    def cut_after(self, step: int) -> None:
        """Drop lines of steps after a checkpoint's, and a last line that a crash cut short."""
        if self.path.exists():
            kept = [line for line in self.read() if line.step <= step]
            write_bytes(self.path, "".join(map(_written, kept)).encode())

    def read(self) -> list[HistoryLine]:
        """All whole lines.

        Raises:
            RunError: a line in the middle is damaged.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        return [self._parsed(number, line) for number, line in enumerate(lines[:-1], start=1)]

    def _parsed(self, number: int, line: str) -> HistoryLine:
        where = f"{self.path}, line {number}"
        try:
            return HistoryLine.from_dict(json.loads(line))
        except json.JSONDecodeError:
            raise RunError(f"{where}: not JSON; restore the file") from None
        except (ValueError, TypeError) as error:
            raise RunError(f"{where}: not an evaluation ({error}); restore the file") from None


def _written(line: HistoryLine) -> str:
    return json.dumps(line.to_dict()) + "\n"
