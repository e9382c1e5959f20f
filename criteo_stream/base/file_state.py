"""Whether a file was touched since it was looked at."""

from dataclasses import dataclass, replace
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

    def among_hosts(self) -> "FileState":
        """What all hosts that share a file see alike: size and time of the content."""
        return replace(self, ctime_ns=0, inode=0)

    def agrees_with(self, other: "FileState") -> bool:
        """Whether two states may be of one file, untouched, as far as both say."""
        if 0 in (self.inode, other.inode):
            return self.among_hosts() == other.among_hosts()
        return self == other
