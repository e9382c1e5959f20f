"""Days of the 1TB logs that are shorter than Criteo published: told before reading, and after.

Half-finished downloads of them have been about, of 1.6 GB where 12 to 17 are expected
(mlcommons/training#801). Before reading, the rows are an estimate from a file's size and its
beginning, so only what no complete day can be is named. See docs/terabyte.md for how far complete
logs are off.
"""

from collections.abc import Sequence
from typing import Final

from criteo_stream.base.amounts import format_size
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.work_records import BlockRecord
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.inputs import RawInput

_SHORT: Final = {None: 0.9, "gzip": 0.6}
_SHORT_ELSE: Final = 0.2
"""Below this share of the published rows an estimate is no complete day, by compression.

Complete logs are estimated at no less than 0.99 of their rows, plain or as gzip of any level, and
at 0.49 as zstd (``--ultra -22 --long``), since the estimate takes every file for ``gzip -6``.
"""
_NAMED: Final = 24


def short_by_size(inputs: Sequence[Beginning], done: Sequence[Sequence[BlockRecord]]) -> list[str]:
    """A warning in lines, for days that are far too small; told before they are read.

    Args:
        inputs: those of a preparation.
        done: per input, its blocks that were read already; one read to its end is left out, as
            its rows are known by then.
    """
    short = [
        f"  {beginning.source}: {format_size(beginning.file_bytes)}, about "
        f"{beginning.estimated_rows:,} rows; the complete day has {published:,}"
        for beginning, records in zip(inputs, done, strict=True)
        if not (records and records[-1].last)
        and (published := beginning.source.published_rows)
        and beginning.estimated_rows < _SHORT.get(beginning.compression, _SHORT_ELSE) * published
    ]
    if not short:
        return []
    if len(short) > _NAMED:
        short[_NAMED - 1 :] = [f"  … and {len(short) - _NAMED + 1} more"]
    return [
        "warning: days of the 1TB logs that look cut short, by their sizes:",
        *short,
        "  If that is not meant, end this with Ctrl-C, download them again and run the same "
        "command: what was read is kept, but a day that was read to its end needs --restart.",
    ]


def short_days(inputs: Sequence[RawInput], manifest: Manifest) -> list[str]:
    """A warning for each day that has fewer lines than Criteo published; told after reading."""
    return [
        f"{source} has {entry.rows:,} lines, the complete day has {source.published_rows:,}: "
        "the download may be cut short"
        for source, entry in zip(inputs, manifest.inputs, strict=True)
        if source.published_rows and entry.rows < source.published_rows
    ]
