"""Zip archives: their members, and the content of one."""

import stat
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from criteo_stream.prepare.members import Member, no_such_member, plain_name, refuse_twice

DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError)
"""What reading a damaged archive raises."""

_ENCRYPTED: Final = 1
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
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            reason = f"its directory, which stands at its end, is missing or damaged: {error}"
            raise zipfile.BadZipFile(reason) from None
        self._zip = stack.enter_context(archive)

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
                if member.refusal:
                    return member, None
                return member, self._stack.enter_context(self._zip.open(info))
        raise no_such_member(self._path, name, [member.name for member in members])

    def _files(self) -> list[zipfile.ZipInfo]:
        return [info for info in self._zip.infolist() if not info.is_dir()]


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
