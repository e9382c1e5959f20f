"""The result of a preparation."""

from dataclasses import dataclass
from pathlib import Path

from criteo_stream.base.amounts import counted, format_size
from criteo_stream.base.notebook import table_html
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import Manifest
from criteo_stream.raw.malformed import count_listed


@dataclass(frozen=True, kw_only=True, repr=False)
class PrepareResult:
    """The result of a preparation; ``manifest`` tells what it made."""

    out: Path
    manifest: Manifest
    seconds: float
    peak_memory_bytes: int
    stages: dict[str, dict[str, float]]
    """Per stage: seconds, rows_per_second, and cores (CPU seconds per second); empty where this
    call found the set finished."""
    resumed: bool
    """Whether work of an earlier try was reused."""
    warnings: list[str]

    @property
    def rejected_file(self) -> Path:
        """Lists the first of the malformed lines that were left out; exists if there are any."""
        return DataFolder(self.out).rejected

    @property
    def rejected_listed(self) -> int:
        """How many malformed lines it lists."""
        return count_listed(self.rejected_file)

    @property
    def rows_per_second(self) -> int:
        """Lines read per second of this call; 0 where it found the set finished."""
        return round(self.manifest.rows["read"] / self.seconds) if self.stages else 0

    def to_dict(self) -> dict[str, object]:
        """The figures of ``--json``."""
        return {
            "out": str(self.out),
            "rows": self.manifest.rows,
            "rejected_listed": self.rejected_listed,
            "seconds": round(self.seconds, 3),
            "rows_per_second": self.rows_per_second,
            "peak_memory_bytes": self.peak_memory_bytes,
            "stages": self.stages,
            "resumed": self.resumed,
            "fingerprint": self.manifest.fingerprint,
            "warnings": self.warnings,
        }

    def lines(self) -> list[str]:
        """The figures for a person: rows, and speed unless this call found the set finished."""
        return [self._made, self._speed] if self.stages else [self._made]

    def summary(self) -> str:
        """The figures for a person, as a sentence."""
        return f"{self._made} in {self._speed}"

    @property
    def _made(self) -> str:
        rows = self.manifest.rows
        thinned = f", {counted(rows['thinned'], 'negative')} thinned" if "thinned" in rows else ""
        return (
            f"{self.out}: {rows['train']:,} training, {rows['valid']:,} valid and "
            f"{counted(rows['test'], 'test row')} ({rows['rejected']:,} rejected{thinned})"
        )

    @property
    def _speed(self) -> str:
        return (
            f"{self.seconds:.1f} s, {self.rows_per_second:,} rows/s, "
            f"peak memory {format_size(self.peak_memory_bytes)}"
        )

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<PrepareResult {self}>"

    def _repr_html_(self) -> str:
        rows = [
            *((f"rows, {name}", f"{count:,}") for name, count in self.manifest.rows.items()),
            ("seconds", f"{self.seconds:,.1f}"),
            ("rows/s", f"{self.rows_per_second:,}"),
            ("peak memory", format_size(self.peak_memory_bytes)),
            *(("warning", warning) for warning in self.warnings),
        ]
        return table_html(str(self.out), rows)
