"""The lines of a raw input, read in chunks of whole lines that end where blocks end.

An input is read in pieces of one size. Given a pool, its threads read the pieces of a plain file,
many at once, and count the lines of any; what is left to the one who asks for chunks is to say
where lines and blocks end, and to decompress.
"""

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from criteo_stream.base.errors import InputError
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.schema import BLOCK_ROWS
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.byte_stream import ByteStream, Piece
from criteo_stream.raw.crc import crc32_of_both
from criteo_stream.raw.headers import header_of
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.malformed import LONGEST_LINE

CHUNK_BYTES: Final = 16 << 20
"""Decompressed bytes that are parsed at a time."""
_TOO_LONG: Final = LONGEST_LINE + len(b"\r")
"""A line with more bytes than this is too long even where a carriage return ends it."""


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
    parts: list[bytes | memoryview]
    """What its text is made of, until that is asked for."""
    header_lines: int = 0
    """Lines of the file before its rows; ``first_line`` does not count them."""
    cut: Extent | None = None
    """The extent where the text is only the beginning of its line."""
    share: float | None = None
    """About how much of the file ends with it, if that can be said."""

    @cached_property
    def text(self) -> bytes:
        """Ends with a newline.

        Of a line of over `LONGEST_LINE` bytes it may have the beginning only, and is then longer
        than that still.
        """
        text = b"".join(self.parts)
        self.parts.clear()  # or every chunk would take its memory twice
        return text

    def extent(self) -> Extent:
        """How far it reaches; the checksum takes about a quarter of a millisecond a megabyte."""
        return self.cut or Extent(self.lines, len(self.text), zlib.crc32(self.text))


def first_position(beginning: Beginning) -> Position:
    """The place of an input's first row."""
    header = header_of(beginning)
    return Position(bytes=len(header), crc32=zlib.crc32(header))


def read_chunks(
    beginning: Beginning,
    *,
    block_rows: int = BLOCK_ROWS,
    start: Position | None = None,
    pool: Executor | None = None,
    ahead: int = 1,
) -> Iterator[Chunk]:
    """Read an input as chunks of whole lines; no chunk crosses the end of a block.

    A header is passed over; a missing last newline is added.

    Args:
        beginning: of the input.
        block_rows: lines of a block.
        start: the position to read from on; default the first row.
        pool: does what more than one thread can do; default none.
        ahead: pieces of `CHUNK_BYTES` that are in its hands at a time.

    Raises:
        InputError: the file is damaged, has no rows, or has another header than it had.
    """
    source, header = beginning.source, header_of(beginning)
    first_line = start.lines if start else 0
    with beginning.opened(start.bytes if start else 0) as stream:
        if not start and stream.read(len(header)) != header:
            raise InputError(f"{source} changed since its header was read: run the same again")
        for text in _texts(_pieces(stream, pool, ahead)):
            for parts, lines in _split_at_blocks(text, first_line, block_rows):
                yield Chunk(
                    source=source,
                    first_line=first_line,
                    lines=lines,
                    parts=list(parts),
                    header_lines=len(header) > 0,
                    cut=text.cut,
                    share=text.share,
                )
                first_line += lines
    if not first_line:
        raise InputError(f"{source} holds no rows: leave it out")


class _Piece(NamedTuple):
    """Some bytes of an input, whatever lines they cut through."""

    content: bytes
    lines: int
    """Line ends in it."""
    whole: int
    """Bytes up to the last line end."""
    share: float | None


def _pieces(stream: ByteStream, pool: Executor | None, ahead: int) -> Iterator[_Piece]:
    pieces = stream.pieces(CHUNK_BYTES)
    return map(_counted, pieces) if pool is None else ordered_map(pool, _counted, pieces, ahead)


def _counted(piece: Piece) -> _Piece:
    content = piece.read()
    is_end = np.frombuffer(content, np.uint8) == ord("\n")  # quicker than bytes.count
    lines, whole = int(np.count_nonzero(is_end)), content.rfind(b"\n") + 1
    return _Piece(content, lines, whole, piece.share)


class _Text(NamedTuple):
    """Whole lines, or the beginning of one that is too long to be kept."""

    parts: tuple[bytes | memoryview, ...]
    lines: int
    share: float | None
    cut: Extent | None = None


def _texts(pieces: Iterator[_Piece]) -> Iterator[_Text]:
    rest = b""  # of the line that goes on in the next piece
    long: _LongLine | None = None
    share = None
    for content, lines, whole, share in pieces:
        start = 0
        if long:
            start = content.find(b"\n") + 1
            long.add(content[: start or None])
            if not start:
                continue
            yield long.text(share)
            long, lines = None, lines - 1
        if lines:
            yield _Text((rest, memoryview(content)[start:whole]), lines, share)
            rest = b""
        rest += content[max(start, whole) :]
        if len(rest) > _TOO_LONG:
            long, rest = _LongLine(rest), b""
    if long:
        yield long.text(share)
    elif rest:
        yield _Text((rest, b"\n"), 1, share)


class _LongLine:
    """A line that is too long, of which only the beginning is kept."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning = b""
        self._bytes = self._crc32 = 0
        self._ended = False
        self.add(beginning)

    def add(self, part: bytes) -> None:
        self._beginning += part[: _TOO_LONG + 1 - len(self._beginning)]
        self._bytes += len(part)
        self._crc32 = zlib.crc32(part, self._crc32)
        self._ended = part.endswith(b"\n")

    def text(self, share: float | None) -> _Text:
        if not self._ended:
            self.add(b"\n")
        extent = Extent(1, self._bytes, self._crc32)
        return _Text((self._beginning, b"\n"), 1, share, extent)


def _split_at_blocks(
    text: _Text, first_line: int, block_rows: int
) -> Iterator[tuple[tuple[bytes | memoryview, ...], int]]:
    """Cut lines, of which the first has this number, where blocks end."""
    room = block_rows - first_line % block_rows
    if text.lines <= room:
        yield text.parts, text.lines
        return
    whole = b"".join(text.parts)
    ends = np.flatnonzero(np.frombuffer(whole, np.uint8) == ord("\n")) + 1
    start = done = 0
    while done < text.lines:
        lines = min(room, text.lines - done)
        done += lines
        end = int(ends[done - 1])
        yield (memoryview(whole)[start:end],), lines
        start, room = end, block_rows


def count_lines(
    beginning: Beginning,
    advance: Callable[[int], None] = lambda _: None,
    *,
    pool: Executor | None = None,
    ahead: int = 1,
) -> int:
    """Rows of an input, a last one without newline included.

    Args:
        beginning: of the input.
        advance: is told of lines as they are counted.
        pool: as for `read_chunks`.
        ahead: as for `read_chunks`.
    """
    total, open_end = 0, False
    with beginning.opened() as stream:
        for content, lines, whole, _ in _pieces(stream, pool, ahead):
            advance(lines)
            total, open_end = total + lines, whole < len(content)
    return total + open_end - (len(header_of(beginning)) > 0)
