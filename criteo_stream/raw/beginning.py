"""The beginning of a raw input, read once: it tells the layout, and how many rows to expect."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import InputError
from criteo_stream.raw.byte_stream import ByteStream
from criteo_stream.raw.file_kinds import HEAD_BYTES, is_text, other_kind
from criteo_stream.raw.inputs import COMPRESSED_SUFFIXES, RawInput
from criteo_stream.raw.open_input import damaged, open_decompressed

_SAMPLE_BYTES: Final = 8 << 20
"""Decompressed bytes that the estimates are made from."""
_HEAD_BYTES: Final = 1 << 16
"""Decompressed bytes that are kept: far more than a header and some rows take."""
_HEAD_LINES: Final = 102
"""Lines that are kept, however long: a header, and the rows that tell the layout."""
_COMPRESSED_AGAIN: Final = 1 << 20
_COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lzma.compress,
}
"""How much smaller each makes a text; others do about what gzip does."""


class EmptyInputError(InputError):
    """The input holds nothing."""


class OtherFormatError(InputError):
    """The input is of another format than text."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Facts from the first bytes of an input; made by `read_beginning`."""

    source: RawInput
    head: bytes = field(repr=False)
    """The first bytes of the decompressed content, at least one."""
    compression: str | None
    """What the content is decompressed from, such as ``gzip``; None for a plain file, and for a
    member of an archive that holds it as it is."""
    file_bytes: int
    """Size on disk, that of a member within its archive; 0 of a stream."""
    expansion: float
    """Decompressed bytes per byte on disk; an estimate for a compressed file."""
    bytes_per_line: float
    """Decompressed."""
    _stream: "_OpenStream | None" = field(default=None, repr=False, compare=False)

    @property
    def estimated_rows(self) -> int:
        """About how many rows the whole input has."""
        return round(self.file_bytes * self.expansion / self.bytes_per_line)

    @property
    def is_seekable(self) -> bool:
        """Whether the content is a plain file's as it is, to be read by position."""
        source = self.source
        return self.compression is None and source.member is None and not source.is_stream

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
        OtherFormatError: it is of another format than text.
        ArchiveInputError: it is an archive, and the source names no member.
        InputError: it cannot be read, or its compressed stream is damaged.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(open_decompressed(source))
        sample = _sample(stream)
        compression = stream.compression
        kept = None
        if source.is_stream:
            stream.put_back(sample)
            kept = _OpenStream(stream, stack.pop_all())
    if not sample:
        raise EmptyInputError(f"{source} is empty: leave it out")
    _refuse_other_format(source, sample[:HEAD_BYTES], compression)
    file_bytes, expansion = _sizes(source, stream, sample)
    return Beginning(
        source=source,
        head=sample[: max(_HEAD_BYTES, _end_of_line(sample, _HEAD_LINES))],
        compression=compression or (stream.member.compression if stream.member else None),
        file_bytes=file_bytes,
        expansion=expansion,
        bytes_per_line=len(sample) / max(1, sample.count(b"\n")),
        _stream=kept,
    )


def _refuse_other_format(source: RawInput, head: bytes, compression: str | None) -> None:
    path = source.path if source.member is None else Path(source.member)
    packed = source.member is not None or compression is not None
    if compression and path.suffix in COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    if why := other_kind(head, path, compression, packed=packed):
        raise OtherFormatError(f"{source} {why}")
    # A plain log under such a name is read: some downloads decompress and keep the name.
    suffix = Path(source.short).suffix
    if compression is None and suffix in COMPRESSED_SUFFIXES and not is_text(head):
        raise damaged(source, f"its first bytes are not those of a {suffix} file")


def _end_of_line(text: bytes, number: int) -> int:
    """Where a line ends, counted from 1; the end of the text where it has no more lines."""
    end = 0
    for _ in range(number):
        end = text.find(b"\n", end) + 1
        if not end:
            return len(text)
    return end


def _sample(stream: ByteStream) -> bytes:
    """The first bytes; not beyond a member's end, where the rest of its archive would be read."""
    if stream.member is None or stream.compression:
        return stream.read(_SAMPLE_BYTES)
    return stream.read(min(_SAMPLE_BYTES, stream.member.content_bytes))


def _sizes(source: RawInput, stream: ByteStream, sample: bytes) -> tuple[int, float]:
    """Bytes on disk, and decompressed bytes per byte on disk."""
    if source.is_stream:
        return 0, 1.0
    member = stream.member
    size = source.path.stat().st_size if member is None else member.content_bytes
    content = size * (_expansion(sample, size, stream.compression) if stream.compression else 1.0)
    if member is not None:
        size = member.disk_bytes or round(size / _ratio(sample, member.compression))
    return size, content / max(1, size)


def _expansion(sample: bytes, file_bytes: int, compression: str) -> float:
    if len(sample) < _SAMPLE_BYTES:  # the whole content
        return len(sample) / max(1, file_bytes)
    return _ratio(sample, compression)


def _ratio(sample: bytes, compression: str | None) -> float:
    # Such text compresses alike everywhere: compressing some of it again shows the ratio.
    piece = sample[:_COMPRESSED_AGAIN]
    return len(piece) / len(_COMPRESS.get(compression or "", zlib.compress)(piece))
