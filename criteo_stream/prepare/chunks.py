"""The lines of a raw input, read in chunks of whole lines that end where blocks end."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from criteo_stream.base.errors import InputError
from criteo_stream.base.schema import BLOCK_ROWS
from criteo_stream.prepare.beginning import Beginning
from criteo_stream.prepare.crc import crc32_of_both
from criteo_stream.prepare.inputs import RawInput
from criteo_stream.prepare.layouts import header_of
from criteo_stream.prepare.malformed import LONGEST_LINE
from criteo_stream.prepare.open_input import ByteStream

CHUNK_BYTES: Final = 16 << 20
"""Decompressed bytes that are parsed at a time."""
_LONG_ENOUGH: Final = LONGEST_LINE + 2
"""Beginning of a very long line that is too long even where a carriage return ends it."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """A place between two lines of an input, and a checksum of what comes before it."""

    lines: int = 0
    """A header is not counted."""
    bytes: int = 0
    """Decompressed, a header included."""
    crc32: int = 0
    """Checksum of the decompressed content so far."""

    def after(self, extent: "Extent") -> "Position":
        """The place behind an extent that begins here."""
        return Position(
            lines=self.lines + extent.lines,
            bytes=self.bytes + extent.bytes,
            crc32=crc32_of_both(self.crc32, extent.crc32, extent.bytes),
        )


class Extent(NamedTuple):
    """How far a text reaches, and its own checksum."""

    lines: int
    bytes: int
    """Decompressed."""
    crc32: int


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Whole lines of one input."""

    source: RawInput
    first_line: int
    """Lines before it, without a header."""
    lines: int
    text: bytes
    """Ends with a newline. Of a line of over `LONGEST_LINE` bytes it may have the beginning only,
    and is then longer than that still."""
    header_lines: int = 0
    """Lines of the file before its rows; ``first_line`` does not count them."""
    cut: Extent | None = None
    """The extent where the text is only the beginning of its line."""

    def extent(self) -> Extent:
        """How far it reaches; the checksum takes about a millisecond a megabyte."""
        return self.cut or Extent(self.lines, len(self.text), zlib.crc32(self.text))


def first_position(beginning: Beginning) -> Position:
    """The place of an input's first row."""
    header = header_of(beginning)
    return Position(bytes=len(header), crc32=zlib.crc32(header))


def read_chunks(
    beginning: Beginning, *, block_rows: int = BLOCK_ROWS, start: Position | None = None
) -> Iterator[Chunk]:
    """Read an input as chunks of whole lines; no chunk crosses the end of a block.

    A header is passed over; a missing last newline is added.

    Args:
        beginning: of the input.
        block_rows: lines of a block.
        start: the position to read from on; default the first row.

    Raises:
        InputError: the file is damaged, has no rows, or has another header than it had.
    """
    source, header = beginning.source, header_of(beginning)
    first_line = start.lines if start else 0
    with beginning.opened(start.bytes if start else 0) as stream:
        if not start and stream.read(len(header)) != header:
            raise InputError(f"{source.path} changed since its header was read: run the same again")
        for text, lines, cut in _parts(stream, first_line, block_rows):
            yield Chunk(
                source=source,
                first_line=first_line,
                lines=lines,
                text=text,
                header_lines=len(header) > 0,
                cut=cut,
            )
            first_line += lines
    if not first_line:
        raise InputError(f"{source.path} holds no rows: leave it out")


def _parts(
    stream: ByteStream, first_line: int, block_rows: int
) -> Iterator[tuple[bytes, int, Extent | None]]:
    """Texts of chunks, the lines of each, and the extent of a line that is cut short."""
    lines = _Lines(stream)
    while True:
        while text := lines.whole():
            while text:
                part, count, text = _split_after(text, block_rows - first_line % block_rows)
                first_line += count
                yield part, count, None
        beginning, size, crc32 = b"", 0, 0
        for part in lines.long():
            beginning += part[: _LONG_ENOUGH - len(beginning)]
            size, crc32 = size + len(part), zlib.crc32(part, crc32)
        if not beginning:
            return
        first_line += 1
        yield beginning + b"\n", 1, Extent(1, size, crc32)


class _Lines:
    """Cuts a stream into lines."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._rest = b""

    def whole(self) -> bytes:
        """About `CHUNK_BYTES` of whole lines; nothing before a very long line and at the end."""
        while len(self._rest) <= LONGEST_LINE + len(b"\r"):
            read = self._stream.read(CHUNK_BYTES)
            if not read:
                text, self._rest = self._rest, b""
                return text and text + b"\n"
            cut = read.rfind(b"\n") + 1
            if cut:
                text = b"".join((self._rest, memoryview(read)[:cut]))
                self._rest = read[cut:]
                return text
            self._rest += read
        return b""

    def long(self) -> Iterator[bytes]:
        """The parts of a very long line, if one comes next."""
        part, self._rest = self._rest, b""
        while part:
            cut = part.find(b"\n") + 1
            if cut:
                self._stream.put_back(part[cut:])
                yield part[:cut]
                return
            yield part
            part = self._stream.read(CHUNK_BYTES)
            if not part:
                yield b"\n"


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
    with beginning.opened() as stream:
        while read := stream.read(CHUNK_BYTES):
            found = read.count(b"\n")
            advance(found)
            lines += found
            last = read[-1:]
    return lines + (last != b"\n") - (len(header_of(beginning)) > 0)
