"""Memory that the control groups around this process leave: containers' and schedulers' limits.

Groups are nested, and every one of them may have a limit. Pages of files that the kernel can drop
do not count as used, as in its own ``MemAvailable``: a group's page cache fills up to the limit.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

_UNLIMITED: Final = 1 << 60
"""Version 1 writes no limit as the largest number of pages."""


class _Version(NamedTuple):
    """Names of the files in a group's folder."""

    limits: tuple[str, ...]
    used: str
    reclaimable: tuple[str, ...]
    """Keys of ``memory.stat``, which count the groups below too."""


_V1: Final = _Version(
    ("memory.limit_in_bytes",),
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)
_V2: Final = _Version(
    ("memory.max", "memory.high"),
    "memory.current",
    ("inactive_file", "active_file", "slab_reclaimable"),
)


def group_free_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that the tightest group leaves; None where no group has a limit.

    Args:
        root: what ``/proc`` and ``/sys`` are below.
    """
    found = [_free(folder, version) for folder, version in _groups(root)]
    return min((free for free in found if free is not None), default=None)


def _groups(root: Path) -> Iterator[tuple[Path, _Version]]:
    """This process's memory groups, each with those around it."""
    mount = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield from ((folder, _V1) for folder in _upwards(mount / "memory", path))
        elif not controllers:
            top = mount / "unified" if (mount / "unified").is_dir() else mount
            yield from ((folder, _V2) for folder in _upwards(top, path))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """A group's folder and those above it; within a container it may be the mount itself."""
    inside = PurePosixPath(path.lstrip("/"))
    for part in (inside, *inside.parents):
        if ".." not in part.parts:
            yield mount / part


def _free(folder: Path, version: _Version) -> int | None:
    limits = [_number(folder / name) for name in version.limits]
    limit = min((x for x in limits if x is not None and x < _UNLIMITED), default=None)
    used = _number(folder / version.used)
    if limit is None or used is None:
        return None
    return max(0, limit - max(0, used - _reclaimable(folder, version)))


def _reclaimable(folder: Path, version: _Version) -> int:
    try:
        text = (folder / "memory.stat").read_text()
    except OSError:
        return 0
    values = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    return sum(int(values.get(key, 0)) for key in version.reclaimable)


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no file, or the word ``max`` in it."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
