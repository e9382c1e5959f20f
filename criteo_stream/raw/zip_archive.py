"""Zip archives: their members, and the content of one."""

import os
import stat
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from criteo_stream.raw.members import Member, no_such_member, plain_name, refuse_twice

DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError)
"""What reading a damaged archive raises."""

_ENCRYPTED: Final = 1
_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
"""Of the record at an archive's end, but the comment behind it."""
_COUNT_AT: Final = 10
_MANY: Final = 0xFFFF
"""Bytes of the longest comment; and the number that stands for a larger one."""
_METHODS: Final = {
    zipfile.ZIP_STORED: None,
    zipfile.ZIP_DEFLATED: "deflate",
    zipfile.ZIP_BZIP2: "bzip2",
    zipfile.ZIP_LZMA: "lzma",
}
_OTHER_METHODS: Final = {9: "deflate64", 93: "zstd", 95: "xz", 98: "ppmd"}


class ZipArchive:
    """An archive that is open; a member's checksum is compared when its end is read.

    Args:
        path: for messages.
        file: open, at any place.
        stack: closes what is opened.

    Raises:
        BadZipFile: the archive has no directory at its end, or a damaged one.
    """

    def __init__(self, path: Path, file: IO[bytes], stack: ExitStack) -> None:
        self._path = path
        self._stack = stack
        try:
            self._zip = stack.enter_context(zipfile.ZipFile(file))
        except (zipfile.BadZipFile, NotImplementedError) as error:
            reason = f"its directory, which stands at its end, is missing or damaged: {error}"
            raise zipfile.BadZipFile(reason) from None
        # zipfile does not look: a damaged entry may take the next one for its comment.
        listed, found = _listed_members(file), len(self._zip.infolist())
        if listed not in (found & _MANY, _MANY):
            raise zipfile.BadZipFile(f"its directory has {found} of {listed} entries")

    def members(self) -> list[Member]:
        """All members but folders.

        Raises:
            InputError: two have one name.
        """
        found = [_member(info) for info in self._files()]
        refuse_twice(self._path, (member.name for member in found))
        return found

    def open(self, name: str) -> tuple[Member, Any]:
        """A member, and its content to be read from front to back.

        Raises:
            InputError: there is no such member, there are two, or it cannot be read.
        """
        members = self.members()
        for info, member in zip(self._files(), members, strict=True):
            if member.name == name:
                return member, None if member.refusal else self._content(info)
        raise no_such_member(self._path, name, [member.name for member in members])

    def _content(self, info: zipfile.ZipInfo) -> IO[bytes]:
        try:
            return self._stack.enter_context(self._zip.open(info))
        except NotImplementedError as error:  # flags that nobody sets
            raise zipfile.BadZipFile(str(error)) from None

    def _files(self) -> list[zipfile.ZipInfo]:
        return [info for info in self._zip.infolist() if not info.is_dir()]


def _listed_members(file: IO[bytes]) -> int:
    """How many members the record at an archive's end says there are; `_MANY` for that or more."""
    file.seek(0, os.SEEK_END)
    file.seek(-min(file.tell(), _END_BYTES + _MANY), os.SEEK_END)
    end = file.read()
    place = end.rfind(_END) + _COUNT_AT
    return int.from_bytes(end[place : place + 2], "little")


def _member(info: zipfile.ZipInfo) -> Member:
    return Member(
        name=plain_name(info.filename),
        content_bytes=info.file_size,
        disk_bytes=info.compress_size,
        compression=_METHODS.get(info.compress_type),
        refusal=_refusal(info),
        is_link=stat.S_ISLNK(info.external_attr >> 16),
    )


def _refusal(info: zipfile.ZipInfo) -> str | None:
    extract = "extract it (unzip, or 7z x) and give the log that it holds"
    if info.flag_bits & _ENCRYPTED:
        return f"is encrypted: {extract}"
    if info.compress_type not in _METHODS:
        method = _OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
        return f"is compressed by {method}, which is not read within a zip archive: {extract}"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link: name the member that it points to"
    return None
