"""The result of a preparation."""

from dataclasses import dataclass
from pathlib import Path

from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import Manifest
from criteo_stream.raw.malformed import count_listed


@dataclass(frozen=True, kw_only=True)
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
