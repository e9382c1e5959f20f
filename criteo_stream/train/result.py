"""The result of a training run."""

from dataclasses import dataclass
from pathlib import Path

from criteo_stream.base.amounts import counted, format_size
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

    def to_dict(self) -> dict[str, object]:
        """The figures of ``--json``."""
        keys = ("epoch", "step", *FIGURES)
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
        }

    def summary(self) -> str:
        """The figures for a person."""
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The summary by lines, as a path may have a line break of its own."""
        if not self.finished:
            return [
                f"{self.run}: stopped at step {self.steps:,}, and saved; "
                "the same command again continues"
            ]
        text = f"{self.run}: {counted(self.steps, 'step')}, {counted(self.rows, 'row')}"
        if self.rows_per_second:  # else it was finished before
            text += (
                f", {self.rows_per_second:,.0f} rows/s, "
                f"peak memory {format_size(self.peak_memory_bytes)}"
            )
        if self.rows_per_second and self.peak_device_memory_bytes is not None:
            text += f" and {format_size(self.peak_device_memory_bytes)} on the GPU"
        if self.best is None:
            return [text]
        return [text, f"best at step {self.best.step:,}:", f"  valid {self.best.text()}"]
