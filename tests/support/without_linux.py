"""A Python that has of the system what macOS has: for processes that import it as they begin.

What Linux alone offers is removed from the standard library, and paths below ``/proc``, ``/sys``
and ``/dev/shm`` are not there. Libraries in C see the true system.
"""

import builtins
import ctypes
import errno
import fcntl
import io
import multiprocessing
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.paths import REPOSITORY

F_FULLFSYNC: Final = 51
HIDDEN: Final = ("/proc", "/sys", "/dev/shm")
_ABSENT: Final = {
    os: (
        "sched_getaffinity", "sched_setaffinity", "posix_fallocate", "posix_fadvise", "fdatasync",
        "copy_file_range", "splice", "memfd_create", "eventfd", "pidfd_open", "getrandom",
        "getxattr", "setxattr", "listxattr", "O_DIRECT", "O_TMPFILE", "O_PATH", "prlimit",
    ),
    fcntl: ("F_OFD_SETLK", "F_OFD_SETLKW", "F_OFD_GETLK", "F_SETPIPE_SZ", "F_ADD_SEALS"),
    signal: ("SIGRTMIN", "SIGRTMAX", "SIGPWR", "SIGSTKFLT", "sigtimedwait", "sigwaitinfo"),
    socket: ("TCP_KEEPIDLE", "TCP_USER_TIMEOUT", "SO_PEERCRED", "AF_NETLINK", "AF_VSOCK"),
}  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    """Variables for a process that has no Linux, by a ``sitecustomize`` in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "from tests.support.without_linux import pretend\npretend()\n"
    )
    path = os.pathsep.join(map(str, (folder, REPOSITORY)))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def pretend() -> None:
    """Take away from this process what macOS does not have."""
    for module, names in _ABSENT.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]  # asked when it was imported
    fcntl.F_FULLFSYNC = F_FULLFSYNC  # type: ignore[attr-defined]
    fcntl.fcntl = _fcntl(fcntl.fcntl)  # type: ignore[assignment]
    ctypes.CDLL = _without_glibc(ctypes.CDLL)  # type: ignore[misc]
    for module, names in {
        os: ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access"),
        builtins: ("open",),
        io: ("open",),
    }.items():
        for name in names:
            setattr(module, name, _hiding(getattr(module, name)))
    multiprocessing.set_start_method("spawn")


def _fcntl(original: Callable[..., Any]) -> Callable[..., Any]:
    """`fcntl` that knows how to sync a drive, by what Linux has for it."""

    def call(descriptor: Any, command: int, *rest: Any) -> Any:
        if command == F_FULLFSYNC:
            os.fsync(descriptor)
            return 0
        return original(descriptor, command, *rest)

    return call


def _without_glibc(original: type[ctypes.CDLL]) -> type[ctypes.CDLL]:
    class CDLL(original):  # type: ignore[valid-type, misc]
        def __getattr__(self, name: str) -> Any:
            if name in ("gnu_get_libc_version", "mallopt", "malloc_trim", "prctl"):
                raise AttributeError(name)
            return super().__getattr__(name)

    return CDLL


def _hiding(original: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a path to which some paths do not exist."""

    def call(path: Any = ".", *rest: Any, **named: Any) -> Any:
        if not isinstance(path, int):
            place = os.fsdecode(path)
            if place in HIDDEN or place.startswith(tuple(f"{name}/" for name in HIDDEN)):
                if original.__name__ == "access":
                    return False
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
        return original(path, *rest, **named)

    call.__name__ = original.__name__
    return call
