"""Disk needed by a preparation: estimated from a sample of the inputs, refused early."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from criteo_stream.errors import OutputError
from criteo_stream.memory import format_size
from criteo_stream.prepare.inputs import RawInput, sample_sizes

# Bytes a row at Kaggle's cardinalities, rounded up; measured in benchmarks/README.md.
_SCRATCH_BYTES: Final = 95
_SHARD_BYTES: Final = 110
_VOCABULARY_BYTES: Final = 20
_SPARE: Final = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a preparation will probably need."""

    rows: int
    bytes: int
    """Scratch and shards at their common peak."""


def estimate(inputs: Sequence[RawInput]) -> Estimate:
    """Estimate rows and disk from the inputs' sizes and the first lines of each."""
    rows = 0
    for source in inputs:
        expansion, bytes_per_line = sample_sizes(source)
        rows += round(source.path.stat().st_size * expansion / bytes_per_line)
    per_row = _SCRATCH_BYTES + _SHARD_BYTES + _VOCABULARY_BYTES
    return Estimate(rows=rows, bytes=rows * per_row + _SPARE)


def refuse_too_large(out: Path, needed: Estimate) -> None:
    """Compare with the disk's free space; what the output folder holds already counts as free.

    Raises:
        OutputError: it cannot fit.
    """
    free = shutil.disk_usage(out).free
    present = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    if needed.bytes > free + present:
        raise OutputError(
            f"about {needed.rows:,} rows need {format_size(needed.bytes)} of disk, "
            f"{out} has {format_size(free + present)}: free some space or choose another --out"
        )
