"""The history of a run: ``history.jsonl``, a line per evaluation."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import SimpleNamespace

from criteo_stream.base.errors import RunError
from criteo_stream.base.records import (
    Count,
    Number,
    Positive,
    RecordError,
    Share,
    from_plain,
    parse_json,
    sealed_line,
    unsealed,
)
from criteo_stream.base.storage import full_disk_explained, read_bytes, sync_folder, write_bytes
from criteo_stream.base.system import sync
from criteo_stream.metrics.figures import figures_text


@dataclass(frozen=True, kw_only=True)
class HistoryLine:
    """An evaluation on the valid split in the course of training, and how training went to it."""

    epoch: Positive
    """Counted from 1."""
    step: Positive
    """Steps done, over all epochs."""
    rows: Positive
    """Training rows seen, over all epochs and ranks."""
    train_loss: Number
    """Mean log loss of the training rows since the evaluation before, each before its update."""
    learning_rate: Number
    """Learning rate of the last step."""
    auc: Share | None
    log_loss: Number | None
    ne: Number | None
    calibration: Number | None
    """Figures as in `Evaluation`; None where undefined, or where the valid split is empty. All
    lines of a run are of the same rows: they compare, and the best one is chosen by them."""
    valid_rows: Count | None = None
    """Rows of the valid split that they are of; None in runs of older versions."""
    whole_auc: Share | None = None
    whole_log_loss: Number | None = None
    """The same on the whole valid split; None where only a part of it was measured."""
    rows_per_second: Count
    """Training rows per second since the evaluation before."""
    waited_for_data: Number
    """Share of their time that was spent waiting for the loader."""
    peak_memory_bytes: Count
    """The ranks' peaks so far, added up."""
    peak_device_memory_bytes: Count | None = None
    """The same of GPU memory; None on the CPU, and in runs of older versions."""

    def text(self) -> str:
        """The figures in one line."""
        text = figures_text(self)
        if self.has_both:
            whole = {"auc": self.whole_auc, "log_loss": self.whole_log_loss}
            text += f" on {self.valid_rows:,} rows; {figures_text(SimpleNamespace(**whole))} on all"
        return text

    @property
    def has_both(self) -> bool:
        """Whether a part of the valid split and all of it were measured, and differ."""
        return self.whole_log_loss is not None and (
            (self.auc, self.log_loss) != (self.whole_auc, self.whole_log_loss)
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values by name."""
        return asdict(self)


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
            sync(file.fileno())
            if new:
                sync_folder(self.path.parent)

    def cut_after(self, step: int) -> None:
        """Drop lines of steps after a checkpoint's, and a last line that a crash cut short."""
        if self.path.exists():
            kept = [line for line in self.read() if line.step <= step]
            content = "".join(map(_written, kept)).encode()
            if content != read_bytes(self.path):  # reports date a run by this file
                write_bytes(self.path, content)

    def read(self) -> list[HistoryLine]:
        """All whole lines.

        Raises:
            RunError: a line is damaged.
        """
        try:
            content = read_bytes(self.path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.path} cannot be read: {error.strerror}") from None
        lines = content.split(b"\n")
        return [self._parsed(number, line) for number, line in enumerate(lines[:-1], start=1)]

    def _parsed(self, number: int, line: bytes) -> HistoryLine:
        try:
            raw = parse_json(line)
            # As older versions wrote it.
            unsigned = isinstance(raw, dict) and set(raw) | _NEWER == _FIELDS
            return from_plain(raw if unsigned else unsealed(raw), HistoryLine)
        except RecordError as error:
            raise RunError(
                f"{self.path}, line {number} is damaged ({error}): restore the file, or remove "
                "the line to go on without it"
            ) from None


_FIELDS = {field.name for field in fields(HistoryLine)}
_NEWER = {"peak_device_memory_bytes", "valid_rows", "whole_auc", "whole_log_loss"}
"""Fields that older versions did not write."""


def _written(line: HistoryLine) -> str:
    return sealed_line(line.to_dict())
