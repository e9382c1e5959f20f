"""Opening a raw input as a stream of decompressed bytes: the only place that knows how.

Compressed streams and archives are known by their first bytes, whatever the file's name, and read
on the fly: nothing is unpacked to disk.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from criteo_stream.base.errors import InputError
from criteo_stream.raw import decompress, tar_archive, zip_archive
from criteo_stream.raw.byte_stream import ByteStream
from criteo_stream.raw.file_kinds import HEAD_BYTES, is_tar, is_zip
from criteo_stream.raw.inputs import STDIN, RawInput
from criteo_stream.raw.members import MARK, Member
from criteo_stream.raw.tar_archive import TarArchive
from criteo_stream.raw.zip_archive import ZipArchive

_DAMAGE: Final[tuple[type[Exception], ...]] = (
    *decompress.DAMAGE,
    *tar_archive.DAMAGE,
    *zip_archive.DAMAGE,
)


class ArchiveInputError(InputError):
    """The input is an archive, and none of its members is named."""


@contextmanager
def open_decompressed(source: RawInput, at: int = 0) -> Iterator[ByteStream]:
    """Open an input for reading its decompressed bytes.

    Args:
        source: the input.
        at: decompressed bytes to skip. A plain file is not read up to there; a compressed one, and
            a member of an archive, is read from its beginning.

    Raises:
        ArchiveInputError: it is an archive, and the source names no member.
        InputError: the file cannot be read, is shorter than ``at``, or its compressed stream is
            damaged or cut short; or the member cannot be read. What is raised while the stream is
            open counts too.
    """
    with _told(source), ExitStack() as stack:
        stream, archive = _opened_outside(source, stack)
        if archive is not None:
            stream = _opened_member(source, archive, stack)
        elif source.member is not None:
            raise InputError(f"{source.path} is no archive that has members: name the file alone")
        if at and source.member is None and stream.compression is None:
            stream.seek(at)
        elif stream.skip(at) < at:
            raise InputError(f"{source} became shorter since it was read: see --restart")
        yield stream


def list_members(source: RawInput) -> list[Member]:
    """The members of an archive but folders; a compressed tar archive is read to its end for it.

    Raises:
        InputError: the archive cannot be read, is damaged or cut short, or has two members of one
            name.
    """
    with _told(source), ExitStack() as stack:
        _, archive = _opened_outside(source, stack)
        return archive.members() if archive else []


def _opened_outside(
    source: RawInput, stack: ExitStack
) -> tuple[ByteStream, ZipArchive | TarArchive | None]:
    """A file's decompressed bytes, and the archive that it is."""
    file = stack.enter_context(_opened(source.path))
    raw = ByteStream(file, by_position=not source.is_stream)
    if is_zip(raw.peek(HEAD_BYTES)):
        _refuse_pipe(source, "zip archive", "unzip -p ARCHIVE MEMBER")
        return raw, ZipArchive(source.path, file, stack)
    stream = decompress.decompressed(raw, stack)
    if not is_tar(stream.peek(HEAD_BYTES)):
        return stream, None
    _refuse_pipe(source, "tar archive", "tar xOf ARCHIVE MEMBER")
    if stream.compression:
        return stream, TarArchive(source.path, stream, stream.compression)
    file.seek(0)
    return stream, TarArchive(source.path, file, None)


def _refuse_pipe(source: RawInput, what: str, command: str) -> None:
    if source.is_stream:
        raise InputError(
            f"{source} is a {what} on a pipe: name the file itself, or pipe one of its members "
            f"({command} |)"
        )


def _opened_member(
    source: RawInput, archive: ZipArchive | TarArchive, stack: ExitStack
) -> ByteStream:
    """The decompressed content of the member that a source names."""
    if source.member is None:
        raise ArchiveInputError(
            f"{source} is an archive: name one of its members ({source.path}{MARK}MEMBER)"
        )
    member, content = archive.open(source.member)
    if member.refusal:
        raise InputError(f"{source} {member.refusal}")
    stream = decompress.decompressed(ByteStream(content), stack)
    stream.member = member
    head = stream.peek(HEAD_BYTES)
    if is_zip(head) or is_tar(head):
        raise InputError(
            f"{source} is an archive within an archive: extract it and give it by itself"
        )
    return stream


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == STDIN:
        yield sys.stdin.buffer
    else:
        with path.open("rb") as file:
            yield file


@contextmanager
def _told(source: RawInput) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"no such input: {source.path}") from None
    except OSError as error:
        # Arrow and bzip2 report a damaged stream as a bare OSError, without an errno.
        if error.errno is None:
            raise damaged(source, str(error)) from error
        raise InputError(f"cannot read {source.path}: {error.strerror}") from error
    except _DAMAGE as error:
        raise damaged(source, str(error)) from error


def damaged(source: RawInput, why: str) -> InputError:
    """The error of a compressed file that does not decompress."""
    return InputError(
        f"{source} is damaged or cut short ({why or 'it ends early'}): download or compress it "
        "again; what was read before it is kept"
    )
