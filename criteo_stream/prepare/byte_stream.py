"""Bytes from front to back, whatever they come from, of which some may be put back."""

from typing import IO, Any, Final, cast

from criteo_stream.prepare.members import Member

SKIP_BYTES: Final = 4 << 20
"""Bytes that are skipped at a time where they must be read for it."""


class ByteStream:
    """Bytes from front to back, of which some may be put back."""

    def __init__(self, file: IO[bytes] | Any, compression: str | None = None) -> None:
        self._file = file
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
            return cast(bytes, self._file.read(size))
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found + self._file.read(size - len(found)) if len(found) < size else found

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
