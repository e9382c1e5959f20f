"""What operating systems do differently: each with what serves where Linux's way is absent."""

import errno
import fcntl
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

NO_SUCH_CALL: Final = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system says that does not know a call."""
_ZEROS: Final = 1 << 20


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sync(descriptor: int) -> None:
    """Make what was written safe from a power cut.

    On macOS ``fsync`` leaves it in the drive's cache, and only ``F_FULLFSYNC`` asks the drive.
    """
    if hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # a file system that cannot
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def reserve_space(file: IO[bytes], size: int) -> None:
    """Give a new file so many bytes, zeros, and their space on the disk.

    Raises:
        OSError: the disk is full.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (*NO_SUCH_CALL, errno.EINVAL):
                raise
        else:
            return
    zeros = bytes(min(size, _ZEROS))
    for start in range(0, size, _ZEROS):
        file.write(zeros[: size - start])
    file.flush()


def peak_resident_bytes() -> int:
    """Most memory that this process has had since it began, pages of files included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def open_descriptors() -> Iterator[int]:
    """Numbers of this process's open files; none where the system does not list them."""
    for folder in map(Path, ("/proc/self/fd", "/dev/fd")):
        if folder.is_dir():
            yield from (int(path.name) for path in folder.iterdir())
            return
