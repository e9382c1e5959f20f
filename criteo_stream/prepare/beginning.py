"""The beginning of a raw input, read once: it tells the layout, and how many rows to expect."""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

from criteo_stream.base.errors import InputError
from criteo_stream.prepare.file_kinds import HEAD_BYTES, is_text, other_kind
from criteo_stream.prepare.inputs import COMPRESSED_SUFFIXES, RawInput
from criteo_stream.prepare.open_input import ByteStream, damaged, open_decompressed

_SAMPLE_BYTES: Final = 8 << 20
"""Decompressed bytes that the estimates are made from."""
_HEAD_BYTES: Final = 1 << 16
"""Decompressed bytes that are kept: far more than a header and some rows take."""
_HEAD_LINES: Final = 102
"""Lines that are kept, however long: a header, and the rows that tell the layout."""
_COMPRESSED_AGAIN: Final = 1 << 20


class EmptyInputError(InputError):
    """The input holds nothing."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Facts from the first bytes of an input; made by `read_beginning`."""

    source: RawInput
    head: bytes = field(repr=False)
    """The first bytes of the decompressed content, at least one."""
    compression: str | None
    """``gzip`` or ``zstd``; None for a plain file."""
    file_bytes: int
    """Size on disk; 0 of a stream."""
    expansion: float
    """Decompressed bytes per byte on disk; an estimate for a compressed file."""
    bytes_per_line: float
    """Decompressed."""
    _stream: "_OpenStream | None" = field(default=None, repr=False, compare=False)

    @property
    def estimated_rows(self) -> int:
        """About how many rows the whole input has."""
        return round(self.file_bytes * self.expansion / self.bytes_per_line)

    @contextmanager
    def opened(self, at: int = 0) -> Iterator[ByteStream]:
        """The decompressed bytes from ``at`` on; a stream's once only. See `open_decompressed`."""
        if self._stream is None:
            with open_decompressed(self.source, at) as stream:
                yield stream
        else:
            with self._stream.closing:
                yield self._stream.bytes


@dataclass(frozen=True)
class _OpenStream:
    """A stream whose first bytes were looked at and put back."""

    bytes: ByteStream
    closing: ExitStack


def read_beginning(source: RawInput) -> Beginning:
    """Open an input and read its first bytes.

    Raises:
        EmptyInputError: it is empty.
        InputError: it cannot be read, is of another format than text, or its compressed stream is
            damaged.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(open_decompressed(source))
        sample = stream.read(_SAMPLE_BYTES)
        compression = stream.compression
        kept = None
        if source.is_stream:
            stream.put_back(sample)
            kept = _OpenStream(stream, stack.pop_all())
    if not sample:
        raise EmptyInputError(f"{source.path} is empty: leave it out")
    _refuse_other_format(source, sample[:HEAD_BYTES], compression)
    size = 0 if source.is_stream else source.path.stat().st_size
    return Beginning(
        source=source,
        head=sample[: max(_HEAD_BYTES, _end_of_line(sample, _HEAD_LINES))],
        compression=compression,
        file_bytes=size,
        expansion=_expansion(sample, size) if compression and size else 1.0,
        bytes_per_line=len(sample) / max(1, sample.count(b"\n")),
        _stream=kept,
    )


def _refuse_other_format(source: RawInput, head: bytes, compression: str | None) -> None:
    if why := other_kind(head, source.path, compression):
        raise InputError(f"{source.path} {why}")
    # A plain log under such a name is read: some downloads decompress and keep the name.
    if compression is None and source.path.suffix in COMPRESSED_SUFFIXES and not is_text(head):
        raise damaged(source, f"its first bytes are not those of a {source.path.suffix} file")


def _end_of_line(text: bytes, number: int) -> int:
    """Where a line ends, counted from 1; the end of the text where it has no more lines."""
    end = 0
    for _ in range(number):
        end = text.find(b"\n", end) + 1
        if not end:
            return len(text)
    return end


def _expansion(sample: bytes, file_bytes: int) -> float:
    if len(sample) < _SAMPLE_BYTES:  # the whole content
        return len(sample) / file_bytes
    # Such text compresses alike everywhere: compressing some of it again shows the ratio.
    piece = sample[:_COMPRESSED_AGAIN]
    return len(piece) / len(zlib.compress(piece, 6))
