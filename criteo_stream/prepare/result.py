"""What a preparation hands back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from criteo_stream.data.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What a preparation did; ``manifest`` is what it made."""

    out: Path
    manifest: Manifest
    seconds: float
    peak_memory_bytes: int
    stages: dict[str, dict[str, float]]
    """Per stage: seconds, rows_per_second, and cores (CPU seconds a second)."""
    resumed: bool
    """Whether work of an earlier try was reused."""
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The figures of ``--json``."""
        rows = self.manifest.rows
        return {
            "out": str(self.out),
            "rows": rows,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(rows["read"] / self.seconds) if self.seconds else 0,
            "peak_memory_bytes": self.peak_memory_bytes,
            "stages": self.stages,
            "resumed": self.resumed,
            "fingerprint": self.manifest.fingerprint,
            "warnings": self.warnings,
        }
