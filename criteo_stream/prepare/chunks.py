"""The lines of a raw input, read in chunks of whole lines that end where blocks end."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final

import numpy as np

from criteo_stream.base.errors import InputError
from criteo_stream.base.schema import BLOCK_ROWS
from criteo_stream.prepare.beginning import Beginning
from criteo_stream.prepare.inputs import RawInput
from criteo_stream.prepare.layouts import header_of
from criteo_stream.prepare.open_input import open_decompressed

CHUNK_BYTES: Final = 16 << 20
"""Decompressed bytes that are parsed at a time."""

_LONGEST_LINE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Position:
    """A place between two lines of an input, and a checksum of what comes before it."""

    lines: int = 0
    """A header is not counted."""
    bytes: int = 0
    """Decompressed, a header included."""
    crc32: int = 0
    """Checksum of the decompressed content so far."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Whole lines of one input."""

    source: RawInput
    start: Position
    end: Position
    text: bytes
    """Ends with a newline."""
    header_lines: int = 0
    """Lines of the file before its rows; ``start`` and ``end`` do not count them."""

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.end.lines - self.start.lines


_FIRST: Final = Position()


def read_chunks(
    beginning: Beginning, *, block_rows: int = BLOCK_ROWS, start: Position = _FIRST
) -> Iterator[Chunk]:
    """Read an input as chunks of whole lines; no chunk crosses the end of a block.

    A header is passed over; a missing last newline is added.

    Args:
        beginning: of the input.
        block_rows: lines of a block.
        start: the position to read from on.

    Raises:
        InputError: the file is damaged, has no rows, has another header than it had, or holds a
            line of over 1 MiB.
    """
    source, header = beginning.source, header_of(beginning)
    position = start
    if not start.bytes:
        position = Position(bytes=len(header), crc32=zlib.crc32(header))
    with open_decompressed(source, start.bytes) as stream:
        if not start.bytes and stream.read(len(header)) != header:
            raise InputError(f"{source.path} changed since its header was read: run the same again")
        for text in _whole_lines(source, stream):
            while text:
                part, lines, text = _split_after(text, block_rows - position.lines % block_rows)
                end = Position(
                    lines=position.lines + lines,
                    bytes=position.bytes + len(part),
                    crc32=zlib.crc32(part, position.crc32),
                )
                yield Chunk(
                    source=source,
                    start=position,
                    end=end,
                    text=part,
                    header_lines=len(header) > 0,
                )
                position = end
    if not position.lines:
        raise InputError(f"{source.path} is empty")


def _whole_lines(source: RawInput, stream: IO[bytes]) -> Iterator[bytes]:
    """Cut a stream into texts of about `CHUNK_BYTES` that end with a newline."""
    rest = b""
    while read := stream.read(CHUNK_BYTES):
        cut = read.rfind(b"\n") + 1
        if cut:
            yield b"".join((rest, memoryview(read)[:cut]))
            rest = read[cut:]
        else:
            rest += read
        if len(rest) > _LONGEST_LINE:
            raise InputError(
                f"{source.path} holds a line of over 1 MiB: it is not a Criteo click log"
            )
    if rest:
        yield rest + b"\n"


def _split_after(text: bytes, lines: int) -> tuple[bytes, int, bytes]:
    """Cut after at most ``lines`` newlines: (head, lines in it, tail)."""
    is_end = np.frombuffer(text, np.uint8) == ord("\n")  # quicker than bytes.count
    total = int(np.count_nonzero(is_end))
    if total <= lines:
        return text, total, b""
    ends = np.flatnonzero(is_end)
    cut = int(ends[lines - 1]) + 1
    return text[:cut], lines, text[cut:]


def count_lines(beginning: Beginning, advance: Callable[[int], None] = lambda _: None) -> int:
    """Rows of an input, a last one without newline included; ``advance`` is told of progress."""
    lines, last = 0, b"\n"
    with open_decompressed(beginning.source) as stream:
        while read := stream.read(CHUNK_BYTES):
            found = read.count(b"\n")
            advance(found)
            lines += found
            last = read[-1:]
    return lines + (last != b"\n") - (len(header_of(beginning)) > 0)
