"""Bytes from front to back, whatever they come from, of which some may be put back."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, Final, NamedTuple, cast

from criteo_stream.raw.members import Member

SKIP_BYTES: Final = 4 << 20
"""Bytes that are skipped at a time where they must be read for it."""


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
        self._by_position = by_position
        self._below = below
        self._taken = 0
        self._ahead = b""
        self.compression = compression
        """What the bytes are decompressed from."""
        self.member: Member | None = None
        """The member of an archive that they are the content of."""
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
        """How much of the file, or of the member, was read."""
        if self.member and not self.compression:
            return self._taken / max(1, self.member.content_bytes)
        below = self._below
        if below is None or not below._by_position:
            return None
        return below._taken / max(1, os.fstat(below._file.fileno()).st_size)

    def put_back(self, content: bytes) -> None:
        """Have bytes that were read read again."""
        self._ahead = content + self._ahead

    def peek(self, size: int) -> bytes:
        """The next bytes, which are read again; fewer only at the end."""
        content = self.read(size)
        self.put_back(content)
        return content

    def seek(self, at: int) -> None:
        """Go to a byte of a plain file."""
        self._ahead = b""
        self._file.seek(at)

    def skip(self, count: int) -> int:
        """Read bytes and forget them: how many, which is fewer only at the end."""
        left = count
        while left and (skipped := self.read(min(left, SKIP_BYTES))):
            left -= len(skipped)
        return count - left

    def close(self) -> None:
        """Nothing: who opened the file closes it."""


def _read_at(descriptor: int, place: int, size: int) -> bytes:
    """Read by position; less than ``size`` bytes only where the file ends."""
    found = os.pread(descriptor, size, place)
    while found and len(found) < size and (more := os.pread(descriptor, size, place + len(found))):
        found += more[: size - len(found)]
    return found
