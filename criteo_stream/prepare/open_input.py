"""Opening a raw input as a stream of decompressed bytes: the only place that knows how.

gzip and zstd are known by their first bytes, whatever the file's name, and decompressed on the
fly, several members or frames in one file included.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import IO, Any, Final, NamedTuple, cast

import pyarrow as pa

from criteo_stream.base.errors import InputError
from criteo_stream.prepare.file_kinds import HEAD_BYTES, compression_of
from criteo_stream.prepare.inputs import STDIN, RawInput

_SKIP_BYTES: Final = 16 << 20
"""Decompressed bytes that are skipped at a time."""


class Piece(NamedTuple):
    """Some of the bytes of a stream."""

    read: Callable[[], bytes]
    """Gives them, once. Where a file is read by position, any threads may call, in any order."""
    share: float | None
    """How much of its file ends with them, if that can be said."""


class ByteStream:
    """Bytes from front to back, of which some may be put back."""

    def __init__(
        self,
        file: IO[bytes] | Any,
        compression: str | None = None,
        *,
        by_position: bool = False,
        below: "ByteStream | None" = None,
    ) -> None:
        self._file = file
        self._below = below
        self._taken = 0
        self._by_position = by_position
        self._ahead = b""
        self.compression = compression
        """What the bytes are decompressed from."""
        self.closed = False
        """Never; Arrow asks."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, and fewer only at the end."""
        if not self._ahead:
            return self._more(size)
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found + self._more(size - len(found)) if len(found) < size else found

    def _more(self, size: int) -> bytes:
        content = cast(bytes, self._file.read(size))
        self._taken += len(content)
        return content

    def put_back(self, content: bytes) -> None:
        """Have bytes that were read read again."""
        self._ahead = content + self._ahead

    def pieces(self, size: int) -> Iterator[Piece]:
        """The rest in pieces of ``size`` bytes, the last one less."""
        if not self._by_position:
            while content := self.read(size):
                yield Piece(partial(bytes, content), self._share())
            return
        descriptor = self._file.fileno()
        start, end = self._file.tell() - len(self._ahead), os.fstat(descriptor).st_size
        for place in range(start, end, size):
            length = min(size, end - place)
            yield Piece(partial(_read_at, descriptor, place, length), (place + length) / end)

    def _share(self) -> float | None:
        """How much of the file was read."""
        file = self._below or self
        size = os.fstat(file._file.fileno()).st_size if file._by_position else 0
        return file._taken / size if size else None

    def close(self) -> None:
        """Nothing: who opened the file closes it."""


def _read_at(descriptor: int, place: int, size: int) -> bytes:
    """Read by position; less than ``size`` bytes only where the file ends."""
    found = os.pread(descriptor, size, place)
    while found and len(found) < size and (more := os.pread(descriptor, size, place + len(found))):
        found += more[: size - len(found)]
    return found


@contextmanager
def open_decompressed(source: RawInput, at: int = 0) -> Iterator[ByteStream]:
    """Open an input for reading its decompressed bytes.

    Args:
        source: the input.
        at: decompressed bytes to skip. A plain file is not read up to there; a compressed one is
            decompressed from its beginning.

    Raises:
        InputError: the file cannot be read, is shorter than ``at``, or its compressed stream is
            damaged or cut short. What is raised while the stream is open counts too.
    """
    with _told(source), ExitStack() as stack:
        file = stack.enter_context(_opened(source))
        raw = ByteStream(file, by_position=not source.is_stream)
        head = raw.read(HEAD_BYTES)
        raw.put_back(head)
        compression = compression_of(head)
        if compression:
            # Through Python: Arrow opens no path that is not UTF-8.
            below = pa.PythonFile(raw, mode="r")
            above = stack.enter_context(pa.CompressedInputStream(below, compression))
            stream = ByteStream(above, compression, below=raw)
            _skip(source, stream, at)
        elif at:
            file.seek(at)
            stream = ByteStream(file, by_position=True)
        else:
            stream = raw
        yield stream


@contextmanager
def _opened(source: RawInput) -> Iterator[IO[bytes]]:
    if source.path == STDIN:
        yield sys.stdin.buffer
    else:
        with source.path.open("rb") as file:
            yield file


@contextmanager
def _told(source: RawInput) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"no such input: {source.path}") from None
    except OSError as error:
        # Arrow reports a damaged stream as a bare OSError, without an errno.
        if error.errno is None:
            raise damaged(source, str(error)) from error
        raise InputError(f"cannot read {source.path}: {error.strerror}") from error


def damaged(source: RawInput, why: str) -> InputError:
    """The error of a compressed file that does not decompress."""
    return InputError(
        f"{source.path} is damaged or cut short ({why}): download or compress it again; "
        "what was read before it is kept"
    )


def _skip(source: RawInput, stream: ByteStream, count: int) -> None:
    while count:
        skipped = stream.read(min(count, _SKIP_BYTES))
        if not skipped:
            raise InputError(f"{source.path} became shorter since it was read: see --restart")
        count -= len(skipped)
