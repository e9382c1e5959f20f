"""What a call of training came to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from criteo_stream.base.amounts import format_size
from criteo_stream.metrics.evaluation import FIGURES, figures_text


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run came to."""

    run: Path
    steps: int
    rows: int
    """Training rows seen, over all epochs."""
    seconds: float
    """Of this call."""
    rows_per_second: float
    """Of this call's steps, evaluations not counted."""
    peak_memory_bytes: int
    """Of this call, the ranks' peaks added up."""
    best: dict[str, Any] | None
    """The best evaluation."""
    resumed_from: int | None
    """Step of the checkpoint that this call continued from."""
    finished: bool
    """False where a signal stopped it."""
    history: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The figures of ``--json``."""
        keys = ("epoch", "step", *FIGURES)
        return {
            "run": str(self.run),
            "steps": self.steps,
            "rows": self.rows,
            "rows_per_second": round(self.rows_per_second),
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": self.peak_memory_bytes,
            "best": {k: self.best[k] for k in keys} if self.best else None,
            "resumed_from": self.resumed_from,
            "finished": self.finished,
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
        if self.best:
            text += f"; best at step {self.best['step']:,}: valid {figures_text(self.best)}"
        return text
