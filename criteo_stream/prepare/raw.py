"""Raw lines to columns, exactly: every line is either valid or located and explained.

A parser alone proves nothing here: short lines become nulls that look like missing values, and
``+abcdef1`` passes for hex. So a chunk is parsed in one go by Polars and then compared with what
valid lines would have given; only where something differs are its lines looked at one by one.
"""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.prepare.inputs import Chunk, Layout, Position
from criteo_stream.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL

_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_INTEGER: Final = re.compile(rb"-?[0-9]+")
_HEX: Final = re.compile(rb"[0-9a-fA-F]{8}")
_EXCERPT_BYTES: Final = 200


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A malformed line."""

    file: str
    line: int
    """Counted from 1."""
    reason: str
    text: str
    """Its beginning; bytes that are not UTF-8 are escaped."""


@dataclass(frozen=True)
class ParsedChunk:
    """The valid rows of a chunk and what became of the others."""

    frame: pl.DataFrame
    """``label`` uint8 (if the layout has one), I1..I13 int32, C1..C26 uint32; null is missing."""
    line_numbers: npt.NDArray[np.int64]
    """Per row of the frame, counted from 1."""
    rejects: list[Reject]
    end: Position
    """Of the chunk in its input."""


class _NotCleanError(Exception):
    """The chunk holds something that a valid one would not."""


def parse_chunk(chunk: Chunk, layout: Layout, *, pad_short_lines: bool = False) -> ParsedChunk:
    """Parse and validate whole lines; malformed ones are explained, never dropped silently.

    ``pad_short_lines`` accepts lines that are short only by trailing tabs.
    """
    text = chunk.text
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    try:
        frame = _parse_clean(text, chunk.lines, layout)
    except _NotCleanError:
        return _parse_line_by_line(chunk, text, layout, pad_short_lines)
    lines = np.arange(chunk.start.lines, chunk.end.lines, dtype=np.int64) + 1
    return ParsedChunk(frame, lines, [], chunk.end)


def _parse_clean(text: bytes, lines: int, layout: Layout) -> pl.DataFrame:
    """Parse lines that are all valid.

    Raises:
        _NotCleanError: at least one line is not.
    """
    _check_bytes(text, lines, layout)
    schema: dict[str, type[pl.DataType]] = {LABEL: pl.String} if layout.labelled else {}
    schema |= dict.fromkeys(INTEGER_COLUMNS, pl.Int32)
    schema |= dict.fromkeys(CATEGORICAL_COLUMNS, pl.String)
    try:
        raw = pl.read_csv(text, separator="\t", has_header=False, schema=schema, quote_char=None)
    except pl.exceptions.PolarsError as error:  # 41 fields, a number that is none or too large
        raise _NotCleanError from error
    if raw.height != lines:
        raise _NotCleanError
    hexes = [pl.col(c).str.to_integer(base=16, dtype=pl.UInt32, strict=False)
             for c in CATEGORICAL_COLUMNS]  # fmt: skip
    lengths = pl.all_horizontal((pl.col(c).str.len_bytes() == 8).all() for c in CATEGORICAL_COLUMNS)
    nulls = pl.sum_horizontal(pl.col(c).null_count() for c in CATEGORICAL_COLUMNS)
    expressions = [pl.col(c) for c in INTEGER_COLUMNS] + hexes
    if layout.labelled:
        expressions.insert(0, (pl.col(LABEL) == "1").cast(pl.UInt8))
        lengths &= pl.col(LABEL).is_in(["0", "1"]).all() & (pl.col(LABEL).null_count() == 0)
    all_eight, nulls_before = raw.select(lengths, nulls.alias("nulls")).row(0)
    frame = raw.select(expressions)
    if not all_eight or nulls_before != frame.select(nulls).item():
        raise _NotCleanError
    return frame


def _check_bytes(text: bytes, lines: int, layout: Layout) -> None:
    """What the parser would let through: other scripts, signs and spaces, lines cut short."""
    if not text.isascii() or b"+" in text or b" " in text:
        raise _NotCleanError
    separators = np.frombuffer(text, np.uint8) == layout.separator[0]
    if np.count_nonzero(separators) != lines * layout.separators:
        raise _NotCleanError


def _parse_line_by_line(
    chunk: Chunk, text: bytes, layout: Layout, pad_short_lines: bool
) -> ParsedChunk:
    good: list[bytes] = []
    numbers: list[int] = []
    rejects: list[Reject] = []
    for number, line in enumerate(text.split(b"\n")[:-1], start=chunk.start.lines + 1):
        padded = line + layout.separator * (layout.separators - line.count(layout.separator))
        short = len(padded) > len(line)
        reason = explain(padded if pad_short_lines else line, layout)
        if reason is None:
            good.append(padded if short else line)
            numbers.append(number)
            continue
        if short and line and explain(padded, layout) is None:
            fields = line.count(layout.separator) + 1
            reason = (
                f"{fields} fields instead of {layout.separators + 1}: the line lost its trailing "
                "tabs (an editor or a strip() removes them); --short-lines pad restores them"
            )
        excerpt = line[:_EXCERPT_BYTES].decode(errors="backslashreplace")
        rejects.append(
            Reject(file=str(chunk.source.path), line=number, reason=reason, text=excerpt)
        )
    frame = _parse_clean(b"".join(line + b"\n" for line in good), len(good), layout)
    return ParsedChunk(frame, np.array(numbers, np.int64), rejects, chunk.end)


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
    elif not _INT32_MIN <= int(value) <= _INT32_MAX:
        return f"{column} is {_quoted(value)}, outside the 32-bit integers"
    return None


def _quoted(value: bytes) -> str:
    return repr(value[:40].decode(errors="backslashreplace")) + ("…" if len(value) > 40 else "")
