"""What finished pieces of work say of themselves: the records of the working folder.

A record holds what cannot be had again from the files of its piece, and their checksums, taken
when they were written. What it was made from is named too: a piece that was made from something
else is not the piece that is looked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from criteo_stream.base.errors import OutputError
from criteo_stream.base.file_state import FileState
from criteo_stream.base.records import (
    Count,
    Crc32,
    Fingerprint,
    Positive,
    Share,
    Whole,
    checksum_of,
    require,
)
from criteo_stream.base.schema import BLOCK_ROWS, FEATURE_COLUMNS, INTEGER_COLUMNS, SPLITS
from criteo_stream.base.storage import difference, file_crc32
from criteo_stream.data.manifest import ShardEntry
from criteo_stream.prepare.splits import TRAIN
from criteo_stream.raw.chunks import Position
from criteo_stream.raw.malformed import KEPT_OF_BLOCK, Reject

ROWS: Final = ".rows"
VALUES: Final = ".values"
COUNTS: Final = ".counts"
"""Suffixes of a block's scratch files."""

RESTART: Final = "start over with --restart"
"""What is left to do where an unfinished preparation is damaged: nothing else is as safe.

A damaged file tells of a disk, or a hand, that may have damaged more. Making one piece again would
need what later stages have freed, and inputs that may have changed.
"""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file as it was written."""

    bytes: Count
    crc32: Crc32

    @classmethod
    def of(cls, path: Path) -> "Written":
        """Of a file that has just been written."""
        return cls(bytes=path.stat().st_size, crc32=file_crc32(path))


def identity_of(files: Mapping[str, Written]) -> str:
    """Identity of files by their names and what they hold."""
    return checksum_of({name: file.crc32 for name, file in files.items()})


def verify(path: Path, written: Written) -> None:
    """Compare a file of an earlier piece of work with what was written, before it is relied on.

    Raises:
        OutputError: it is missing or altered: names it.
    """
    try:
        differs = difference(path, written.bytes, written.crc32)
    except (FileNotFoundError, NotADirectoryError):
        raise OutputError(f"{path} is missing: restore it, or {RESTART}") from None
    if differs:
        what = ", expected ".join(filter(None, differs))
        raise OutputError(f"{path} is damaged ({what}): restore it, or {RESTART}")


def damaged(record: Path, what: str) -> OutputError:
    """The error of a record that cannot be true."""
    return OutputError(f"{record} is damaged ({what}): {RESTART}")


@dataclass(frozen=True, kw_only=True)
class LineCount:
    """The lines of an input that had to be counted before it was read."""

    lines: Count
    state: FileState
    """State of the input when they were counted."""

    def __post_init__(self) -> None:
        """Refuse what no file has."""
        _check_state(self.state)


@dataclass(frozen=True, kw_only=True)
class BlockEnd:
    """Where a block ends in its input: a `Position` of which nothing may be missing."""

    lines: Positive
    bytes: Positive
    crc32: Annotated[int, Meta(ge=0, lt=2**32)]

    @property
    def position(self) -> Position:
        """The place to go on reading from."""
        return Position(lines=self.lines, bytes=self.bytes, crc32=self.crc32)


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """A block that was read: up to `schema.BLOCK_ROWS` lines of one input."""

    task: Fingerprint
    """Of all that decides the output."""
    source: Count
    """Number of the input, in natural order."""
    block: Count
    """Number of the block within its input."""
    state: FileState
    """State of the input when the block was read."""
    lines: Positive
    end: BlockEnd
    last: bool
    """Whether the input ends with this block."""
    rows: list[Count]
    """Valid rows per split: train, valid, test."""
    missing: dict[str, Count]
    """Per column, in the training rows."""
    sums: dict[str, Whole]
    """Per integer column, over the training rows."""
    runs: dict[str, Count]
    """Per column: distinct values of all rows."""
    rejected: Count
    rejects: list[Reject]
    """The first of the malformed lines."""
    files: dict[str, Written]
    """The block's scratch files, by suffix."""
    thinned: Count
    """Valid rows of no split: negatives that were left out of the training split."""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        _check_state(self.state)
        end, rows = self.end, sum(self.rows)
        require(self.lines <= min(BLOCK_ROWS, end.lines), "lines: more than there are")
        require(end.lines <= end.bytes, "end: more lines than bytes")
        require(len(self.rows) == len(SPLITS), "rows: expected one number per split")
        accounted = rows + self.thinned + self.rejected
        require(accounted == self.lines, "lines: not the rows, the thinned and the rejected ones")
        kept = min(self.rejected, KEPT_OF_BLOCK)
        require(len(self.rejects) == kept, "rejects: not as many as were kept")
        require(set(self.missing) == set(FEATURE_COLUMNS), "missing: not of all columns")
        require(set(self.runs) == set(FEATURE_COLUMNS), "runs: not of all columns")
        require(set(self.sums) == set(INTEGER_COLUMNS), "sums: not of all integer columns")
        require(set(self.files) == {ROWS, VALUES, COUNTS}, "files: not those of a block")
        training = self.rows[TRAIN]
        require(max(self.missing.values()) <= training, "missing: more than training rows")
        require(max(self.runs.values()) <= rows, "runs: more than rows")
        largest = max(map(abs, self.sums.values()))
        require(largest <= training << 31, "sums: more than the rows can add up to")
        entries = 4 * sum(self.runs.values())
        for suffix in (VALUES, COUNTS):
            require(self.files[suffix].bytes == entries, f"files: {suffix} does not hold the runs")

    @property
    def name(self) -> str:
        """The base of the block's file names."""
        return block_name(self.source, self.block)

    @property
    def fingerprint(self) -> str:
        """Identity of what later stages use of it, whenever it was read."""
        files = {suffix: file.crc32 for suffix, file in self.files.items()}
        return checksum_of({"task": self.task, "name": self.name, "rows": self.rows, **files})


def block_name(source: int, block: int) -> str:
    """The base of a block's file names."""
    return f"{source:05d}-{block:05d}"


@dataclass(frozen=True, kw_only=True)
class FittedNumeric:
    """An integer column whose counts were merged."""

    made_from: Fingerprint
    distinct: Count
    """Distinct values in the training rows; of a fit that is extended, in its rows."""
    table: Written
    outside: Count
    """New rows beyond the range of the table, where the fit is extended."""
    shifted: Share
    """Largest difference between its quantiles and those of the new rows."""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        require(self.table.bytes % 24 == 0, "table: not whole entries")
        require(self.table.bytes // 24 <= self.distinct, "distinct: less than the table holds")


@dataclass(frozen=True, kw_only=True)
class FittedCategorical:
    """A categorical column whose counts were merged."""

    made_from: Fingerprint
    distinct: Count
    """Distinct values in the training rows, rare ones included."""
    oov: Count
    """Training rows whose value has no id of its own."""
    digest: Fingerprint
    """Of the known values, see `fit_fingerprint`; an older fit that is borrowed has its own."""
    vocabulary: Written
    lookup: Written
    counts: Written | None
    """Of the values without an id, where they are kept."""
    new_oov_before: Count
    """New rows whose value had no id before, where the fit is extended."""
    new_oov: Count
    """New rows whose value has none."""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        require(self.lookup.bytes % 8 == 0, "lookup: not whole entries")
        require(self.known <= self.distinct, "distinct: less than the lookup holds")

    @property
    def known(self) -> int:
        """Values with an id of their own."""
        return self.lookup.bytes // 8


@dataclass(frozen=True, kw_only=True)
class EncodedBlock:
    """A block whose shards were written."""

    made_from: Fingerprint
    shards: dict[str, ShardEntry]
    """Per split that has rows in it."""


def _check_state(state: FileState) -> None:
    times = (state.mtime_ns, state.ctime_ns)
    possible = 0 <= state.bytes < 2**62 and 0 <= state.inode < 2**64
    possible &= all(abs(time) < 2**63 for time in times)
    require(possible, "state: not that of a file")
