"""The result of a training run."""

from dataclasses import dataclass, field
from pathlib import Path

from criteo_stream.base.amounts import counted, format_size
from criteo_stream.base.notebook import table_html
from criteo_stream.metrics.figures import FIGURES
from criteo_stream.runs.history import HistoryLine


@dataclass(frozen=True, kw_only=True, repr=False)
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
        lines = [text]
        if self.best and not self.best.valid_rows:
            lines.append(
                f"weights of step {self.best.step:,} are kept: the valid split is empty, "
                "so there are no figures to choose the best by"
            )
        elif self.best:
            lines += [f"best at step {self.best.step:,}:", f"  valid {self.best.text()}"]
        return [*lines, "but see the warning"] if self.warnings else lines

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<TrainResult {self}>"

    def _repr_html_(self) -> str:
        best = [(FIGURES[key], f"{value:.6f}") for key, value in self._best_figures()]
        rows = [
            ("steps", f"{self.steps:,}"),
            ("rows", f"{self.rows:,}"),
            ("seconds", f"{self.seconds:,.1f}"),
            ("rows/s", f"{self.rows_per_second:,.0f}"),
            ("peak memory", format_size(self.peak_memory_bytes)),
            *([("best step", f"{self.best.step:,}"), *best] if self.best else []),
        ]
        return table_html(f"{self.run}" + ("" if self.finished else " (stopped)"), rows)

    def _best_figures(self) -> list[tuple[str, float]]:
        found = ((key, getattr(self.best, key, None)) for key in FIGURES)
        return [(key, value) for key, value in found if value is not None]
