"""Raw lines to columns, exactly: every line is either parsed or rejected with its place.

A parser alone proves nothing here: short lines become nulls that look like missing values, and
``+abcdef1`` passes for hex. So a chunk is parsed in one go by Polars and then compared with what
valid lines would have given; only where something differs are its lines looked at one by one.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.base.schema import (
    CATEGORICAL_COLUMNS,
    FEATURE_COLUMNS,
    INTEGER_COLUMNS,
    LABEL,
)
from criteo_stream.raw.chunks import Chunk, Extent
from criteo_stream.raw.layouts import ID, Layout
from criteo_stream.raw.malformed import (
    KEPT_OF_CHUNK,
    LONGEST_LINE,
    Reject,
    explain,
    number_of,
    padded,
    reject,
)


@dataclass(frozen=True)
class ParsedChunk:
    """The valid rows of a chunk and what became of the others."""

    frame: pl.DataFrame
    """I1..I13 int32, C1..C26 uint32; null is missing. Where the layout has them, before these
    ``label`` uint8, and ``Id`` int64 if it was asked for."""
    line_numbers: npt.NDArray[np.int64]
    """Per row of the frame, counted from 1, a header left out."""
    rejected: int
    """Malformed lines."""
    rejects: list[Reject]
    """The first `KEPT_OF_CHUNK` of them."""
    extent: Extent
    """Of the chunk."""


class _NotCleanError(Exception):
    """The chunk holds something that a valid one would not."""


def parse_chunk(
    chunk: Chunk, layout: Layout, *, pad_short_lines: bool = False, keep_id: bool = False
) -> ParsedChunk:
    """Parse and validate whole lines; malformed ones are explained, never dropped silently.

    Args:
        chunk: the lines.
        layout: of its input.
        pad_short_lines: accept lines that are short only by trailing separators.
        keep_id: keep the ids of a layout that has them.
    """
    parsed = _parse(chunk, layout, pad_short_lines)
    if layout.has_id and not keep_id:
        return replace(parsed, frame=parsed.frame.drop(ID))
    return parsed


def _parse(chunk: Chunk, layout: Layout, pad_short_lines: bool) -> ParsedChunk:
    text = chunk.text
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    try:
        frame = _parse_clean(text, chunk.lines, layout)
    except _NotCleanError:
        return _parse_line_by_line(chunk, text, layout, pad_short_lines)
    lines = np.arange(chunk.first_line, chunk.first_line + chunk.lines, dtype=np.int64) + 1
    return ParsedChunk(frame, lines, 0, [], chunk.extent())


def _parse_clean(text: bytes, lines: int, layout: Layout) -> pl.DataFrame:
    """Parse lines that are all valid.

    Raises:
        _NotCleanError: at least one line is not, or is one that Polars cannot parse.
    """
    _check_bytes(text, lines, layout)
    plan = _plan(layout)
    try:
        raw = pl.read_csv(
            text,
            separator=layout.separator.decode(),
            has_header=False,
            schema=plan.schema,
            quote_char=None,
        )
    except pl.exceptions.PolarsError as error:  # 41 fields, a number that is none or too large
        raise _NotCleanError from error
    if raw.height != lines:
        raise _NotCleanError
    fits, nulls = raw.select(plan.fits, plan.nulls).row(0)
    frame = raw.select(plan.columns)
    if not fits or nulls != frame.select(plan.nulls).item():
        raise _NotCleanError
    return frame


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The Polars expressions applied to each chunk; built once, since that costs milliseconds."""

    schema: dict[str, type[pl.DataType]]
    fits: pl.Expr
    """Whether all hex fields have their length, and all labels are labels."""
    nulls: pl.Expr
    """Nulls in the categorical columns: more than there were tell of a field that is not hex."""
    columns: list[pl.Expr]


@cache
def _plan(layout: Layout) -> _Plan:
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(INTEGER_COLUMNS, pl.Int32)
    schema |= dict.fromkeys(CATEGORICAL_COLUMNS, pl.String)
    fits = pl.all_horizontal((pl.col(c).str.len_bytes() == 8).all() for c in CATEGORICAL_COLUMNS)
    columns = [pl.col(c) for c in INTEGER_COLUMNS]
    columns += [
        pl.col(c).str.to_integer(base=16, dtype=pl.UInt32, strict=False)
        for c in CATEGORICAL_COLUMNS
    ]
    if layout.labelled:
        schema = {LABEL: pl.String} | schema
        label = pl.col(LABEL)
        fits &= label.is_in(["0", "1"]).all() & (label.null_count() == 0)
        columns.insert(0, (label == "1").cast(pl.UInt8))
    if layout.has_id:
        schema = {ID: pl.Int64} | schema
        fits &= pl.col(ID).null_count() == 0
        columns.insert(0, pl.col(ID))
    nulls = pl.sum_horizontal(pl.col(c).null_count() for c in CATEGORICAL_COLUMNS)
    return _Plan(schema=schema, fits=fits, nulls=nulls.alias("nulls"), columns=columns)


def _check_bytes(text: bytes, lines: int, layout: Layout) -> None:
    """Reject what the parser would accept: other scripts, signs and spaces, lines cut short."""
    if not text.isascii() or any(byte in text for byte in _LET_THROUGH):
        raise _NotCleanError
    separators = np.frombuffer(text, np.uint8) == layout.separator[0]
    if np.count_nonzero(separators) != lines * layout.separators or _has_long_line(text):
        raise _NotCleanError


def _has_long_line(text: bytes) -> bool:
    start = 0
    while len(text) - start > LONGEST_LINE:
        end = text.rfind(b"\n", start, start + LONGEST_LINE + 1)
        if end < 0:
            return True
        start = end + 1
    return False


_LET_THROUGH: Final = (b"+", b" ", b"\r")


def _parse_line_by_line(
    chunk: Chunk, text: bytes, layout: Layout, pad_short_lines: bool
) -> ParsedChunk:
    good: list[bytes] = []
    numbers: list[int] = []
    rejects: list[Reject] = []
    rejected = 0
    usual = usual_line(layout)
    for number, line in enumerate(text.split(b"\n")[:-1], start=chunk.first_line + 1):
        if usual.fullmatch(line):
            good.append(line)
            numbers.append(number)
            continue
        whole = padded(line, layout) if pad_short_lines else line
        reason = explain(whole, layout)
        if reason is None:
            good.append(_normalised(whole, layout))
            numbers.append(number)
            continue
        rejected += 1
        if rejected <= KEPT_OF_CHUNK:
            place = number + chunk.header_lines
            rejects.append(reject(line, layout, reason, file=str(chunk.source), number=place))
    frame = _parse_good(good, layout)
    return ParsedChunk(frame, np.array(numbers, np.int64), rejected, rejects, chunk.extent())


@cache
def usual_line(layout: Layout) -> re.Pattern[bytes]:
    """Lines that are valid beyond doubt: their integers are too short to overflow."""
    fields = [rb"(?:-?[0-9]{1,9})?"] * 13 + [rb"(?:[0-9a-fA-F]{8})?"] * 26
    leading = {ID: rb"-?[0-9]{1,18}", LABEL: rb"[01]"}
    return re.compile(layout.separator.join([leading[c] for c in layout.leading] + fields))


def _normalised(line: bytes, layout: Layout) -> bytes:
    """A valid line with its integers as Polars reads them: without leading zeros."""
    fields = line.split(layout.separator)
    for i, column in enumerate((*layout.leading, *INTEGER_COLUMNS)):
        if column != LABEL and fields[i]:
            fields[i] = b"%d" % number_of(fields[i])
    return layout.separator.join(fields)


def _parse_good(lines: list[bytes], layout: Layout) -> pl.DataFrame:
    # A line in front, removed after: Polars refuses a text without lines.
    first = layout.separator.join([b"0"] * len(layout.leading) + [b""] * len(FEATURE_COLUMNS))
    text = b"".join(line + b"\n" for line in (first, *lines))
    return _parse_clean(text, len(lines) + 1, layout)[1:]
