"""Compressed streams to their content, by their first bytes, several streams in one included.

Nothing behind a stream's end is passed over: a second stream whose beginning is damaged would
look like that, and its rows would be lost without a word.
"""

import bz2
import lzma
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, cast

import pyarrow as pa

from criteo_stream.raw.byte_stream import ByteStream
from criteo_stream.raw.file_kinds import HEAD_BYTES, compression_of

_PIECE_BYTES: Final = 1 << 18
"""Compressed bytes that are fed at a time."""

_DECODERS: Final[dict[str, Callable[[], Any]]] = {
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}
"""Those that Arrow lacks, or reads without regard to what is behind a stream's end."""

_DAMAGE: Final[list[type[Exception]]] = [EOFError, lzma.LZMAError]
try:
    from isal import igzip_lib
except ImportError:  # the extra "fast-gzip": 2.6 times as fast as Arrow's
    pass
else:
    _DECODERS["gzip"] = partial(igzip_lib.IgzipDecompressor, flag=igzip_lib.DECOMP_GZIP)
    _DAMAGE.append(cast(type[Exception], igzip_lib.IsalError))

DAMAGE: Final[tuple[type[Exception], ...]] = tuple(_DAMAGE)
"""What reading a damaged stream raises beside an `OSError` without an errno."""


def decompressed(stream: ByteStream, stack: ExitStack) -> ByteStream:
    """The content of a stream: itself where it is not compressed.

    Args:
        stream: at its first byte.
        stack: closes what is opened for it.
    """
    compression = compression_of(stream.peek(HEAD_BYTES))
    if compression is None:
        return stream
    if compression in _DECODERS:
        content = _Decompressed(stream, _DECODERS[compression])
        return ByteStream(content, compression, below=stream)
    # Through Python: Arrow opens no path that is not UTF-8.
    below = pa.PythonFile(stream, mode="r")
    content = stack.enter_context(pa.CompressedInputStream(below, compression))
    return ByteStream(content, compression, below=stream)


class _Decompressed:
    """Streams of one kind, one behind the other, as one content."""

    def __init__(self, below: ByteStream, decoder: Callable[[], Any]) -> None:
        self._below = below
        self._make = decoder
        self._decoder = decoder()

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, and fewer only at the end.

        Raises:
            OSError, EOFError, LZMAError: the stream is damaged or ends early.
        """
        parts = []
        while size and (part := self._some(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _some(self, most: int) -> bytes:
        """A part of the content; nothing at the end."""
        found = b""
        while not found:
            if self._decoder.eof:
                fed = self._decoder.unused_data or self._below.read(_PIECE_BYTES)
                if not fed:
                    return b""
                self._decoder = self._make()
            elif self._decoder.needs_input:
                fed = self._below.read(_PIECE_BYTES)
                if not fed:
                    raise EOFError("the compressed stream ends early")
            else:
                fed = b""
            found = self._decoder.decompress(fed, most)
        return found
