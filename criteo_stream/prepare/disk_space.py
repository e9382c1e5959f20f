"""Disk needed by a preparation: estimated from a sample of the inputs, refused early."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from criteo_stream.base.amounts import counted, format_size
from criteo_stream.base.errors import OutputError
from criteo_stream.base.schema import BLOCK_ROWS
from criteo_stream.raw.beginning import Beginning

# Bytes a row at Kaggle's cardinalities, rounded up; measured in benchmarks/README.md.
_SCRATCH_BYTES: Final = 100
_SHARD_BYTES: Final = 100
_VOCABULARY_BYTES: Final = 25
_SPARE: Final = 64_000_000
_NEGATIVES: Final = 0.7
"""Of all rows, at least: 74 % of Kaggle's are negative, 97 % of 1TB's."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Rows and disk that a preparation will probably need."""

    rows: int
    bytes: int
    """Scratch, vocabularies and shards at their common peak."""


def estimate(inputs: Sequence[Beginning], blocks_in_flight: int, thinned: float = 0.0) -> Estimate:
    """Estimate rows and disk from the inputs' sizes and beginnings.

    A block's scratch goes when its shards are there, so both exist only for the blocks in flight.

    Args:
        inputs: what is read.
        blocks_in_flight: blocks at a time.
        thinned: about which share of all negative rows is left out.
    """
    rows = sum(beginning.estimated_rows for beginning in inputs)
    kept = round(rows * (1 - _NEGATIVES * thinned))
    size = kept * (max(_SCRATCH_BYTES, _SHARD_BYTES) + _VOCABULARY_BYTES)
    size += min(kept, blocks_in_flight * BLOCK_ROWS) * min(_SCRATCH_BYTES, _SHARD_BYTES)
    return Estimate(rows=rows, bytes=size + _SPARE)


def refuse_too_large(out: Path, needed: Estimate) -> None:
    """Compare with the disk's free space; what the output folder holds already counts as free.

    Raises:
        OutputError: it cannot fit.
    """
    free = shutil.disk_usage(out).free
    present = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    if needed.bytes > free + present:
        raise OutputError(
            f"about {counted(needed.rows, 'row')} need {format_size(needed.bytes)} of disk, "
            f"{out} has {format_size(free + present)}: free some space or choose another --out"
        )
