"""Memory of a process tree: what every memory figure of this package means.

Anonymous and shared memory: ``Pss_Anon + Pss_Shmem`` of ``/proc/PID/smaps_rollup``. Page cache
that the kernel can drop (files read, written or mapped) does not count. Where the system has no
``/proc`` (macOS), it is the largest resident size of this process since it began, pages of files
included.
"""

import ctypes
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from criteo_stream.base.control_groups import group_free_bytes
from criteo_stream.base.system import peak_resident_bytes

_KEPT_BYTES: Final = 64 << 20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``."""


def keep_freed_memory() -> None:
    """Let this process use freed memory again, in place of handing it back to the system.

    Each step of a training takes and frees the same megabytes, and pages that come from the system
    are cleared first: a tenth of the time. glibc only; elsewhere nothing changes. Allocations of
    more than 64 MiB are still handed back.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            library.mallopt(parameter, _KEPT_BYTES)


def tree_bytes(pid: int) -> int:
    """Bytes that a process and its descendants take; 0 where the system does not say."""
    total = 0
    for process in process_tree(pid):
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total += int(line.split()[1]) * 1024
        except (OSError, ProcessLookupError):  # it ended meanwhile, or this is not Linux
            continue
    return total


def process_tree(pid: int) -> Iterator[int]:
    """Ids of a process and its descendants, as far as the system lists them."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [c for task in tasks for c in (task / "children").read_text().split()]
    except (OSError, ProcessLookupError):  # as above
        return
    for child in children:
        yield from process_tree(int(child))


def available_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that can still be allocated, within the control groups' limits; None if unknown.

    Args:
        root: what ``/proc`` and ``/sys`` are below.
    """
    group = group_free_bytes(root)
    free = [] if group is None else [group]
    with suppress(OSError):  # not Linux
        text = (root / "proc" / "meminfo").read_text()
        free += [int(kb) * 1024 for kb in re.findall(r"MemAvailable:\s+(\d+) kB", text)]
    return min(free, default=None)


class PeakMemory:
    """Samples the memory of this process tree in the background; ``peak_bytes`` is the largest.

    Args:
        interval: seconds between samples. Where sampling a huge process is slow, the gap grows so
            that sampling takes at most a fiftieth of a core.
    """

    def __init__(self, interval: float = 0.1) -> None:
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-memory", daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.sample()

    def sample(self) -> int:
        """Take a sample now and return it, in bytes."""
        now = tree_bytes(os.getpid()) or peak_resident_bytes()
        self.peak_bytes = max(self.peak_bytes, now)
        return now

    def _sample(self) -> None:
        wait = self._interval
        while not self._stop.wait(wait):
            start = time.thread_time()
            self.sample()
            wait = max(self._interval, 50 * (time.thread_time() - start))
