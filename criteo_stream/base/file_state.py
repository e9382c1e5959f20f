"""Whether a file was touched since it was looked at."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FileState:
    """What a write to a file changes (always ``ctime_ns``), or another file in its place."""

    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """The state of a file now.

        Raises:
            OSError: there is none.
        """
        stat = path.stat()
        return cls(
            bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            ctime_ns=stat.st_ctime_ns,
            inode=stat.st_ino,
        )
