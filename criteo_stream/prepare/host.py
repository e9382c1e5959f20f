"""What one process has to do the work with: threads and memory, shared by all of its tasks."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from criteo_stream.prepare.memory_budget import MemoryBudget


class Shares(NamedTuple):
    """What each of several streams may have in its hands at a time."""

    pieces: int
    """That are read, and their lines counted: several times quicker than parsing a chunk."""
    chunks: int
    columns: int
    blocks: int


class Host:
    """The threads of a process, and how many of each kind of task it does at a time.

    Args:
        budget: of the process.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.pool = ThreadPoolExecutor(budget.threads, "prepare")
        """Its tasks never wait for one another."""
        self.writers = ThreadPoolExecutor(budget.most_streams, "scratch")
        """Wait for the disk, so that no worker does."""
        self._slots: dict[tuple[str, int], threading.Semaphore] = {}
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, kind: str, at_most: int) -> Iterator[None]:
        """Wait until fewer than so many tasks of a kind are at work."""
        with self._lock:
            # By the number too: a worker of a cluster meets sets whose pieces differ in size.
            slots = self._slots.setdefault((kind, at_most), threading.Semaphore(at_most))
        with slots:
            yield

    def shares(self, streams: int) -> Shares:
        """What each of so many streams may have in its hands."""

        def share(of: int) -> int:
            return -(-of // streams) + (streams > 1)

        chunks = share(self.budget.chunks_in_flight)
        return Shares(
            pieces=1 + chunks // 4,
            chunks=chunks,
            columns=share(self.budget.columns_in_flight),
            blocks=self.budget.most_streams // streams,
        )

    def close(self) -> None:
        """End the threads."""
        for pool in (self.writers, self.pool):
            pool.shutdown(cancel_futures=True)
