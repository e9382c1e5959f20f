"""Where a raw line is judged malformed: why it is, and what is kept of it."""

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from criteo_stream.base.amounts import counted
from criteo_stream.base.errors import InputError
from criteo_stream.base.records import Positive
from criteo_stream.base.schema import BLOCK_ROWS, CATEGORICAL_COLUMNS, LABEL
from criteo_stream.base.storage import write_bytes
from criteo_stream.data.manifest import FileEntry
from criteo_stream.raw.layouts import ID, Layout
from criteo_stream.raw.separators import other_separator

KEPT_OF_CHUNK: Final = 100
"""Malformed lines of a chunk that are kept; all are counted."""
KEPT_OF_BLOCK: Final = 100
"""Malformed lines of a block that are kept."""
KEPT_OF_SET: Final = 1000
"""Malformed lines that are kept beside the data set."""

LONGEST_LINE: Final = 1 << 20
"""Bytes of a line; a longer one is malformed, and need not fit the memory."""

_INTEGER: Final = re.compile(rb"-?[0-9]+")
_HEX: Final = re.compile(rb"[0-9a-fA-F]{8}")
_EXCERPT_BYTES: Final = 200
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MISSING_ELSEWHERE: Final = re.compile(rb"(?i:na|nan|null|none|n/a|\?)")


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A malformed line."""

    file: str
    line: Positive
    """Counted from 1, a header included."""
    reason: str
    text: str
    """Its beginning; bytes that are not UTF-8 are escaped."""


def explain(line: bytes, layout: Layout) -> str | None:
    """Why a line is malformed, or None for a valid one. ``line`` has no line end."""
    if not line:
        return "the line is blank"
    if len(line) > LONGEST_LINE:
        return "the line is longer than 1 MiB"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is not valid UTF-8"
    fields = line.split(layout.separator)
    if len(fields) != layout.separators + 1:
        ends = " (its line ends are carriage returns: use newlines)" if b"\r" in line else ""
        other = other_separator(line, layout.separator)
        hint = f" ({other})" if other else ends
        return f"{_fields(len(fields))} instead of {layout.separators + 1}{hint}"
    for column, value in zip(layout.columns, fields, strict=True):
        if reason := _explain_value(column, value):
            return reason + _advice(column, value)
    return None


def faults(line: bytes, layout: Layout) -> int:
    """How far a line is from a layout: fields too many, too few, or of a wrong kind."""
    fields = line.split(layout.separator)
    wrong = sum(
        _explain_value(column, value) is not None
        for column, value in zip(layout.columns, fields, strict=False)
    )
    return wrong + abs(len(fields) - len(layout.columns))


def _explain_value(column: str, value: bytes) -> str | None:
    if column == LABEL:
        return None if value in (b"0", b"1") else f"label is {quoted(value)}, expected 0 or 1"
    if not value and column != ID:
        return None
    if column in CATEGORICAL_COLUMNS:
        if not _HEX.fullmatch(value):
            return f"{column} is {quoted(value)}, expected 8 hex digits"
        return None
    bits, digits = (64, 19) if column == ID else (32, 10)
    if not _INTEGER.fullmatch(value):
        return f"{column} is {quoted(value)}, expected an integer"
    if (
        len(value.lstrip(b"-0")) > digits
        or not -(1 << bits - 1) <= number_of(value) < 1 << bits - 1
    ):
        return f"{column} is {quoted(value)}, outside the {bits}-bit integers"
    return None


def number_of(value: bytes) -> int:
    """The number that ``-?[0-9]+`` means.

    Python converts no text of thousands of digits, not even where most are leading zeros.
    """
    number = int(value.lstrip(b"-0") or b"0")
    return -number if value.startswith(b"-") else number


def _advice(column: str, value: bytes) -> str:
    """What other programs write in such a place, and how to mend it; often nothing."""
    if value.startswith(BYTE_ORDER_MARK):
        return r" (the file begins with a byte order mark: sed '1s/^\xEF\xBB\xBF//' removes it)"
    if value in (b"\\N", b'"\\N"'):
        return r" (Hive's missing value: sed 's/\\N//g' leaves the field empty)"
    if _MISSING_ELSEWHERE.fullmatch(value):
        return " (a missing value is an empty field)"
    if len(value) > 1 and value[:1] == value[-1:] and value[:1] in (b'"', b"'"):
        return " (fields are written without quotes)"
    if value.lower() == column.lower().encode():
        return " (a header is read in line 1 only: leave this line out)"
    if column == LABEL:
        no_click = " (where that means no click: sed 's/^-1/0/' writes 0)"
        return no_click if value == b"-1" else ""
    if column in CATEGORICAL_COLUMNS:
        return _advice_categorical(value)
    if re.fullmatch(rb"-?[0-9]+\.0*", value):
        return (
            " (pandas writes integers so where a column has missing values: convert it by "
            "astype('Int64') before writing)"
        )
    if re.fullmatch(rb"[-+]?[0-9]*(?:\.[0-9]+|\.?[0-9]+[eE][-+]?[0-9]+)", value):
        return " (round or scale other numbers to integers first)"
    return ""


def _advice_categorical(value: bytes) -> str:
    if re.fullmatch(rb"[0-9a-fA-F]{1,7}", value):
        return " (leading zeros are written: '%08x' keeps them)"
    return " (hash other values first, such as '%08x' % zlib.crc32(value))"


def _fields(count: int) -> str:
    return counted(count, "field")


def visible(value: bytes) -> str:
    """Bytes as text in which nothing can steer a terminal: what is not printable is escaped."""
    text = value.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(value: bytes | str) -> str:
    """The beginning of a value in quotes, control characters escaped."""
    text = value if isinstance(value, str) else value.decode(errors="backslashreplace")
    return repr(text[:40]) + "…" * (len(text) > 40)


def padded(line: bytes, layout: Layout) -> bytes:
    """A line with the trailing separators that it lost; a blank line stays blank."""
    missing = layout.separators - line.count(layout.separator)
    return line + layout.separator * missing if line else line


def reject(line: bytes, layout: Layout, reason: str, *, file: Path | str, number: int) -> Reject:
    """The record of a malformed line; says so where padding would make it valid.

    Args:
        line: without line end.
        layout: of its input.
        reason: why it is malformed, see `explain`.
        file: the input.
        number: of the line in the input, counted from 1, a header included.
    """
    whole = padded(line, layout)
    if len(whole) > len(line) and explain(whole, layout) is None:
        found = _fields(line.count(layout.separator) + 1)
        reason = (
            f"{found} instead of {layout.separators + 1}: the line lost its trailing "
            f"{layout.separator_name} (an editor or a strip() removes them); "
            "--short-lines pad restores them"
        )
    excerpt = line[:_EXCERPT_BYTES].decode(errors="backslashreplace")
    return Reject(file=str(file), line=number, reason=reason, text=excerpt)


def too_many_rejects(first: Reject, rejected: int, allowed: int) -> InputError:
    """The error that ends a run with more malformed lines than allowed."""
    lines = f"{rejected:,} malformed line{'s' * (rejected > 1)}"
    return InputError(
        f"{first.file}, line {first.line:,}: {first.reason} ({lines} so far, "
        f"--max-bad-rows is {allowed}): mend the line, or allow more and run the same again"
    )


class FirstRejects:
    """The first malformed lines of many blocks: as many as a prepared set would list."""

    def __init__(self) -> None:
        self.found: list[Reject] = []
        self._of_block: Counter[tuple[str, int]] = Counter()

    def add(self, file: str, block: int, rejects: Sequence[Reject]) -> None:
        """Add malformed lines of a block, in order."""
        place = (file, block)
        kept = rejects[: min(KEPT_OF_BLOCK - self._of_block[place], KEPT_OF_SET - len(self.found))]
        self._of_block[place] += len(kept)
        self.found += kept


def write_rejects(path: Path, rejects: Iterable[Reject]) -> FileEntry | None:
    """Write the first `KEPT_OF_SET` malformed lines as JSON lines; no file where there are none.

    All bytes are printable ASCII, so that no line can steer the terminal that shows it.

    Returns:
        The file's entry in the manifest.
    """
    lines = [
        json.dumps(asdict(found)).replace("\x7f", "\\u007f")
        for found in islice(rejects, KEPT_OF_SET)
    ]
    if not lines:
        return None
    content = "".join(f"{line}\n" for line in lines).encode()
    write_bytes(path, content)
    return FileEntry(path=path.name, bytes=len(content), crc32=f"{zlib.crc32(content):08x}")


def count_listed(path: Path) -> int:
    """How many malformed lines a file of `write_rejects` lists."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def left_out_text(rejected: int, listed: int, path: Path) -> str:
    """How many malformed lines were left out, and where which of them are listed."""
    lines = f"{counted(rejected, 'malformed line')} left out"
    if listed == rejected:
        return f"{lines}, listed in {path}"
    return (
        f"{lines}; {path} lists {listed:,} of them, the first {KEPT_OF_BLOCK} of every block of "
        f"{BLOCK_ROWS:,} lines and at most {KEPT_OF_SET:,}"
    )
