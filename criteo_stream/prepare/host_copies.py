"""Copies on a host's own disk of files that are looked up at random, one for all its processes.

They are in a folder of the user's own below the temporary directory (``TMPDIR``). Who uses a copy
holds a lock on it, which ends with the process: a copy that nobody holds is removed by the next
one that comes by. Copies are made, taken and removed by one process at a time, by a lock on the
folder.
"""

import atexit
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from criteo_stream.base.errors import OutputError
from criteo_stream.base.storage import atomic_path
from criteo_stream.prepare.work_records import Written, verify


class HostCopies:
    """The copies that a piece of work uses; `close` lets go of them."""

    def __init__(self) -> None:
        self._folder = _own_folder()
        self._held: list[IO[bytes]] = []
        self._remove_unused()
        atexit.register(self.close)

    def of(self, path: Path, written: Written, name: str) -> Path:
        """The copy of a file, made if it is not there.

        Args:
            path: the file.
            written: what it must hold.
            name: of the copy, which no other content has.

        Raises:
            OutputError: the file is missing or damaged, or the disk is full.
        """
        copy = self._folder / name
        with self._alone():
            if not copy.exists():
                _make(copy, path, written)
            file = copy.open("rb")
            self._held.append(file)
            fcntl.flock(file, fcntl.LOCK_SH)
        return copy

    def close(self) -> None:
        """Let go of the copies, and remove those that nobody else uses."""
        atexit.unregister(self.close)
        while self._held:
            self._held.pop().close()
        self._remove_unused()

    def _remove_unused(self) -> None:
        with self._alone():
            for path in self._folder.iterdir():
                with suppress(OSError), path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only process that changes the folder; wait for another that does."""
        lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _make(copy: Path, path: Path, written: Written) -> None:
    with atomic_path(copy) as partial:
        try:
            shutil.copyfile(path, partial)
        except FileNotFoundError:
            verify(path, written)  # says so
            raise
        if Written.of(partial) != written:
            verify(path, written)
            raise OutputError(f"{copy} does not hold what was copied from {path}")


def _own_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"criteo-stream-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise OutputError(f"{folder} is not a folder of yours: set TMPDIR to a folder that is")
    return folder
