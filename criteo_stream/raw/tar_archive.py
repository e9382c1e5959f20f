"""Tar archives, plain or within a compressed stream: their members, and the content of one.

A compressed archive has no index: what comes before a member is decompressed to get there. And it
has one checksum, at its end: when a member was read, the rest is read too, for the checksum and
for a second member of the name.
"""

import tarfile
from pathlib import Path
from typing import IO, Any, Final, Self, cast

from criteo_stream.raw.byte_stream import SKIP_BYTES, ByteStream
from criteo_stream.raw.members import (
    Member,
    held_twice,
    no_such_member,
    plain_name,
    refuse_twice,
)

DAMAGE: Final = (tarfile.TarError,)
"""What reading a damaged archive raises."""


class TarArchive:
    """An archive that is open, to be gone through once: `members` or `open`.

    Args:
        path: for messages.
        file: at its first byte: a plain file, or a stream where it is compressed.
        compression: of the whole archive.

    Raises:
        TarError: it is damaged.
    """

    def __init__(self, path: Path, file: IO[bytes] | ByteStream, compression: str | None) -> None:
        self._path = path
        self._compression = compression
        self._file = cast(Any, _Forward(file) if isinstance(file, ByteStream) else file)
        self._tar = tarfile.TarFile(fileobj=self._file, tarinfo=_Header)

    def members(self) -> list[Member]:
        """All members but folders.

        Raises:
            InputError: two have one name.
            TarError: it is damaged or cut short.
        """
        found = []
        while info := self._next():
            found.append(self._member(info))
        refuse_twice(self._path, (member.name for member in found))
        return found

    def open(self, name: str) -> tuple[Member, Any]:
        """A member, and its content to be read from front to back.

        Raises:
            InputError: there is no such member.
            TarError: the archive is damaged or cut short.
        """
        passed = []
        while info := self._next():
            member = self._member(info)
            if member.name == name:
                return member, _Content(self, member)
            passed.append(member.name)
        raise no_such_member(self._path, name, passed)

    def read(self, size: int) -> bytes:
        """The next bytes of the member that was opened.

        Raises:
            ReadError: there are fewer.
        """
        content: bytes = self._file.read(size)
        if len(content) < size:
            raise tarfile.ReadError("unexpected end of data")
        return content

    def finish(self, name: str) -> None:
        """Read what is behind a member.

        Raises:
            InputError: there is a second member of the name.
            TarError, OSError, EOFError: the archive is damaged or cut short.
        """
        while info := self._next():
            if plain_name(info.name) == name:
                raise held_twice(self._path, name)

    def _next(self) -> tarfile.TarInfo | None:
        """The next member that is no folder; behind the last one the archive's end is checked."""
        while (info := self._tar.next()) and info.isdir():
            pass
        if info is None:
            while rest := self._file.read(SKIP_BYTES):
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("there is more behind its end")
        return info

    def _member(self, info: tarfile.TarInfo) -> Member:
        return Member(
            name=plain_name(info.name),
            content_bytes=info.size,
            disk_bytes=None if self._compression else info.size,
            compression=self._compression,
            refusal=_refusal(info),
            is_link=info.issym() or info.islnk(),
        )


def _refusal(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return f"is a link to {info.linkname}: name the member or file that it points to"
    if not info.isreg() or info.issparse():
        what = "kept with holes" if info.issparse() else "no file"
        return f"is {what}: extract the archive (tar xf) and give the logs that it holds"
    return None


class _Header(tarfile.TarInfo):
    """A member's header, of which only a whole one will do.

    tarfile itself takes a damaged or missing header for the archive's end.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end, as it should be
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


class _Content:
    """The content of a member; at its end the rest of the archive is read."""

    def __init__(self, archive: TarArchive, member: Member) -> None:
        self._archive = archive
        self._name = member.name
        self._left = member.content_bytes
        self._finished = False

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, and fewer only at the end."""
        if not self._left and not self._finished:
            self._archive.finish(self._name)
            self._finished = True
        content = self._archive.read(min(size, self._left))
        self._left -= len(content)
        return content


class _Forward:
    """A stream as tarfile reads a file, as long as it goes forward."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._at = 0

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._at += len(content)
        return content

    def seek(self, at: int) -> None:
        assert at >= self._at, f"back to {at} from {self._at}"
        self._at += self._stream.skip(at - self._at)
