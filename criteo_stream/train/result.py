"""The result of a training run."""

from dataclasses import dataclass, field
from pathlib import Path

from criteo_stream.base.amounts import format_size
from criteo_stream.metrics.figures import FIGURES
from criteo_stream.runs.history import HistoryLine


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a training run."""

    run: Path
    steps: int
    rows: int
    """Training rows seen, over all epochs."""
    seconds: float
    """Wall-clock time of this call."""
    rows_per_second: float
    """Training rows per second of this call, evaluations not counted."""
    peak_memory_bytes: int
    """Peak of this call, added up over the ranks."""
    peak_device_memory_bytes: int | None
    """The same of GPU memory; None on the CPU."""
    best: HistoryLine | None
    """The best evaluation."""
    resumed_from: int | None
    """Step of the checkpoint that this call continued from."""
    finished: bool
    """False where a signal stopped it."""
    history: list[HistoryLine]
    """All evaluations of the run."""
    warnings: list[str] = field(default_factory=list)
    """What is wrong with the figures, a sentence each."""

    def to_dict(self) -> dict[str, object]:
        """The figures of ``--json``."""
        keys = ("epoch", "step", *FIGURES, "valid_rows", "whole_auc", "whole_log_loss")
        return {
            "run": str(self.run),
            "steps": self.steps,
            "rows": self.rows,
            "rows_per_second": round(self.rows_per_second),
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_device_memory_bytes": self.peak_device_memory_bytes,
            "best": {key: getattr(self.best, key) for key in keys} if self.best else None,
            "resumed_from": self.resumed_from,
            "finished": self.finished,
            "warnings": self.warnings,
        }

    def summary(self) -> str:
        """The figures for a person."""
        if not self.finished:
            return (
                f"{self.run}: stopped at step {self.steps:,}, and saved; "
                "the same command again continues"
            )
        speed = f", {self.rows_per_second:,.0f} rows/s" if self.rows_per_second else ""
        text = (
            f"{self.run}: {self.steps:,} steps, {self.rows:,} rows{speed}, "
            f"peak memory {format_size(self.peak_memory_bytes)}"
        )
        if self.peak_device_memory_bytes is not None:
            text += f" and {format_size(self.peak_device_memory_bytes)} on the GPU"
        if self.best:
            text += f"; best at step {self.best.step:,}: valid {self.best.text()}"
        if self.warnings:
            text += ", but see the warning"
        return text
