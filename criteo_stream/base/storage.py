"""Files that are whole or absent: atomic writes, checksums, a clear error for a full disk.

A file is written under a temporary name in its own folder, synced, and renamed. Whatever kills
the writer, a reader never meets half a file under its final name.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.system import NO_SUCH_CALL, sync
from criteo_stream.base.terminal import say

_CHUNK_BYTES = 1 << 20
_PARTIAL = re.compile(r"\.(.+?)(?:\.[0-9a-f]{16})?\.partial")
_NO_LOCKS = (errno.ENOLCK, *NO_SUCH_CALL)


@contextmanager
def atomic_path(path: Path, *, shared: bool = False, unique: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; at the end, sync it and rename it to ``path``.

    The temporary path is absolute, for Arrow takes a relative one with a colon for a URI.

    When the body raises, the temporary file is removed and ``path`` is left as it was.

    Args:
        path: the file to be written.
        shared: whether another process may write the same file at the same time. The temporary
            name is then unique, and the last one to finish wins as a whole. What a killed process
            left under a temporary name is removed beforehand, in either case.
        unique: the same for processes of several hosts, between which no lock can tell what is
            left: see `final_name`.

    Raises:
        OutputError: the disk is full, its quota is used up, or a folder is in the way.
        UsageError: the path is not UTF-8.
    """
    token = f".{secrets.token_hex(8)}" if shared or unique else ""
    partial = utf8_path(path).absolute().with_name(f".{path.name}{token}.partial")
    for taken in (partial, path):
        if taken.is_dir() and not taken.is_symlink():
            raise OutputError(f"{taken} is a folder where a file is to be written: remove it")
    partial.unlink(missing_ok=True)
    if shared:
        _remove_abandoned(path)
    try:
        with full_disk_explained(path), _held(partial) if shared else nullcontext():
            yield partial
            sync_file(partial)
            partial.replace(path)
            sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def final_name(name: str) -> str | None:
    """The name that a file of `atomic_path` gets when it is whole; None of any other file."""
    found = _PARTIAL.fullmatch(name)
    return found[1] if found else None


@contextmanager
def _held(partial: Path) -> Iterator[None]:
    """Lock a temporary file while it is written; the lock ends with the process."""
    with partial.open("xb") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files of a shared path whose writers are no more."""
    for found in path.absolute().parent.iterdir():
        if final_name(found.name) == path.name and found.is_file() and not found.is_symlink():
            # Held, gone meanwhile, or on a file system without locks.
            with suppress(OSError), found.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.unlink()


@contextmanager
def full_disk_explained(path: Path) -> Iterator[None]:
    """Turn "no space left" while writing ``path`` into an error that says what to do.

    Raises:
        OutputError: the disk is full, its quota is used up, or a file is too large.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise OutputError(
                f"a file is larger than is allowed here while writing {path}: raise the limit "
                "(ulimit -f), or write to another file system"
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutputError(
            f"the disk is full while writing {path}; what was finished is kept: "
            "free some space and run the same command again to continue"
        ) from error


@contextmanager
def locked_folder(folder: Path, busy: Exception) -> Iterator[None]:
    """Lock a folder for this process; the lock ends with the process, however it ends.

    A file system without locks is used with a warning, as some network ones have none: then it is
    for the user to start one command at a time.

    Raises:
        Exception: ``busy``, when another process holds the lock.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            say(
                f"warning: the file system of {folder} has no locks ({error.strerror}): see to it "
                "that no other command writes into the folder"
            )
        yield
    finally:
        os.close(lock)


def refuse_inside(out: Path, source: Path) -> None:
    """Refuse an output that is, or is within, a folder that is read.

    Raises:
        UsageError: names both.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"--out {out} would write into {source}, which is read: choose another --out"
        )


def utf8_path(path: Path) -> Path:
    """The path itself, where it is UTF-8: PyArrow and safetensors open no other.

    Raises:
        UsageError: it is not, or Python takes it for something else by the locale.
    """
    raw = os.fsencode(path)
    try:
        if raw.decode() == str(path):
            return path
    except UnicodeDecodeError:
        shown = raw.decode(errors="backslashreplace")
        raise UsageError(f"the path {shown} is not UTF-8: rename it") from None
    raise UsageError(
        f"the path {raw.decode()} is not readable in this locale, whose encoding is "
        f"{sys.getfilesystemencoding()}: set PYTHONUTF8=1"
    )


def write_bytes(path: Path, content: bytes, *, shared: bool = False, unique: bool = False) -> None:
    """Write a small file atomically; ``shared`` and ``unique`` as for `atomic_path`."""
    with atomic_path(path, shared=shared, unique=unique) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any, *, unique: bool = False) -> None:
    """Write a value as indented JSON, atomically; the same value gives the same bytes.

    ``unique`` as for `atomic_path`. Bytes of a path that are not UTF-8 (see `os.fsdecode`) are
    written as JSON escapes.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"), unique=unique)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are absent, safe from a power cut.

    Raises:
        OutputError: a file bears its name, or the disk is full.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    with full_disk_explained(path):
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError:
            raise OutputError(f"{path} is a file where a folder is to be made: remove it") from None
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make a file's content safe from a power cut."""
    _fsync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Make a folder's entries, such as a renamed file, safe from a power cut.

    A file system that does not sync folders, as some network ones, has a way of its own.
    """
    try:
        _fsync(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def opened_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read, but no FIFO or device, whose reader may wait for ever.

    Raises:
        OSError: it is missing, cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield file


def read_bytes(path: Path) -> bytes:
    """The content of a small file.

    Raises:
        OSError: as `opened_file`.
    """
    with opened_file(path) as file:
        return file.read()


class Difference(NamedTuple):
    """How a file differs from what was written."""

    found: str
    expected: str
    """Empty where it is no file at all."""


def difference(path: Path, size: int, crc32: str) -> Difference | None:
    """Compare a file with what was written: size, CRC-32. None where it is the same.

    Raises:
        FileNotFoundError, NotADirectoryError: it is missing.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # at a pipe, a reader would wait for ever
        return Difference("not a file", "")
    if status.st_size != size:
        return Difference(f"{status.st_size:,} bytes", f"{size:,}")
    if (found := file_crc32(path)) != crc32:
        return Difference(f"checksum {found}", crc32)
    return None


def file_crc32(path: Path) -> str:
    """CRC-32 of a file's content, as 8 hex digits.

    Raises:
        OSError: as `opened_file`.
    """
    crc = 0
    with opened_file(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return f"{crc:08x}"
