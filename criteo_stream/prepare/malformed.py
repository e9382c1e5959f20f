"""Where a raw line is judged malformed: why it is, and what is kept of it."""

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import InputError
from criteo_stream.base.records import Positive
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS
from criteo_stream.base.storage import write_bytes
from criteo_stream.data.manifest import FileEntry
from criteo_stream.prepare.layouts import Layout

KEPT_OF_CHUNK: Final = 100
"""Malformed lines of a chunk that are kept; all are counted."""
KEPT_OF_BLOCK: Final = 100
"""Malformed lines of a block that are kept."""
KEPT_OF_SET: Final = 1000
"""Malformed lines that are kept beside the data set."""

_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_INTEGER: Final = re.compile(rb"-?[0-9]+")
_HEX: Final = re.compile(rb"[0-9a-fA-F]{8}")
_EXCERPT_BYTES: Final = 200


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
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is not valid UTF-8"
    fields = line.split(layout.separator)
    if len(fields) != layout.separators + 1:
        return f"{len(fields)} fields instead of {layout.separators + 1}"
    columns: tuple[str, ...] = FEATURE_COLUMNS
    if layout.labelled:
        if fields[0] not in (b"0", b"1"):
            return f"label is {_quoted(fields[0])}, expected 0 or 1"
        fields = fields[1:]
    for column, value in zip(columns, fields, strict=True):
        if value and (reason := _explain_value(column, value)):
            return reason
    return None


def _explain_value(column: str, value: bytes) -> str | None:
    if column in CATEGORICAL_COLUMNS:
        if not _HEX.fullmatch(value):
            return f"{column} is {_quoted(value)}, expected 8 hex digits"
    elif not _INTEGER.fullmatch(value):
        return f"{column} is {_quoted(value)}, expected an integer"
    elif len(value.lstrip(b"-0")) > 10 or not _INT32_MIN <= int(value) <= _INT32_MAX:
        return f"{column} is {_quoted(value)}, outside the 32-bit integers"
    return None


def _quoted(value: bytes) -> str:
    return repr(value[:40].decode(errors="backslashreplace")) + ("…" if len(value) > 40 else "")


def padded(line: bytes, layout: Layout) -> bytes:
    """A line with the trailing separators that it lost; a blank line stays blank."""
    missing = layout.separators - line.count(layout.separator)
    return line + layout.separator * missing if line else line


def reject(line: bytes, layout: Layout, reason: str, *, file: Path, number: int) -> Reject:
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
        fields = line.count(layout.separator) + 1
        reason = (
            f"{fields} fields instead of {layout.separators + 1}: the line lost its trailing "
            f"{layout.separator_name} (an editor or a strip() removes them); "
            "--short-lines pad restores them"
        )
    excerpt = line[:_EXCERPT_BYTES].decode(errors="backslashreplace")
    return Reject(file=str(file), line=number, reason=reason, text=excerpt)


def too_many_rejects(first: Reject, rejected: int, allowed: int) -> InputError:
    """The error that ends a run with more malformed lines than allowed."""
    return InputError(
        f"{first.file}, line {first.line:,}: {first.reason} ({rejected:,} malformed lines so far, "
        f"--max-bad-rows is {allowed}): mend the line, or allow more and run the same again"
    )


def write_rejects(path: Path, rejects: Iterable[Reject]) -> FileEntry | None:
    """Write the first `KEPT_OF_SET` malformed lines as JSON lines; no file where there are none.

    Returns:
        The file's entry in the manifest.
    """
    lines = [
        json.dumps(asdict(found), ensure_ascii=False) for found in islice(rejects, KEPT_OF_SET)
    ]
    if not lines:
        return None
    content = "".join(f"{line}\n" for line in lines).encode()
    write_bytes(path, content)
    return FileEntry(path=path.name, bytes=len(content), crc32=f"{zlib.crc32(content):08x}")
