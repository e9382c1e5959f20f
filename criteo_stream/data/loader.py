"""Whole batches prepared by threads while the model trains on the ones before."""

import atexit
import threading
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from criteo_stream.base.errors import UsageError
from criteo_stream.data.dataset import Batch, CriteoDataset, empty_batch, fill
from criteo_stream.data.lanes import LaneReader
from criteo_stream.data.rank_share import share


class CriteoLoader:
    """Iterates a dataset's batches, read ahead by threads.

    Each thread owns a share of the rank's lanes and writes its rows of every batch into the
    batch's own memory, so nothing is copied twice and the batches are the same, bit for bit, for
    any number of threads. They are threads because Arrow and NumPy release the GIL where the time
    goes. Only batches handed to the caller count as consumed, whatever is read ahead.

    Args:
        dataset: What to iterate; the loader keeps the position in it.
        workers: Number of threads; 0 reads in the caller's thread, when a batch is asked for.
        prefetch: Batches that may be ready or under way ahead of the caller's.
        pin_memory: Put batches into page-locked memory, for copies to a GPU that do not block.

    Raises:
        UsageError: a negative number of workers, or nothing to prefetch.
    """

    def __init__(
        self,
        dataset: CriteoDataset,
        workers: int = 1,
        prefetch: int = 4,
        *,
        pin_memory: bool = False,
    ) -> None:
        if workers < 0 or prefetch < 1:
            raise UsageError(
                f"{workers} loader workers and {prefetch} batches to prefetch: "
                "give at least 0 workers and 1 batch"
            )
        self.dataset = dataset
        self.wait_seconds = 0.0
        """Time that callers spent waiting for a batch, over all iterations."""
        self._workers = min(workers, len(dataset.lanes))
        self._prefetch = prefetch
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return self.dataset.steps

    def __iter__(self) -> Generator[Batch]:
        first = self.dataset.begin()
        with closing(self._batches(first)) as batches:
            for _ in range(first, self.dataset.steps):
                asked = perf_counter()
                batch = next(batches)
                self.wait_seconds += perf_counter() - asked
                self.dataset.batches_consumed += 1
                yield batch

    def set_epoch(self, epoch: int) -> None:
        """See ``CriteoDataset.set_epoch``."""
        self.dataset.set_epoch(epoch)

    def state_dict(self) -> dict[str, object]:
        """The position behind the last batch handed out; see ``CriteoDataset.state_dict``."""
        return self.dataset.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``CriteoDataset.load_state_dict``."""
        self.dataset.load_state_dict(state)

    def _batches(self, first: int) -> Generator[Batch]:
        lanes = self.dataset.lanes
        if not self._workers:
            yield from self.dataset.stream(first, lanes, pin_memory=self._pin_memory)
            return
        ahead = _ReadAhead(
            self.dataset, first, self._workers, self._prefetch, pin_memory=self._pin_memory
        )
        # An iteration abandoned at the interpreter's exit must not leave a thread inside Arrow.
        atexit.register(ahead.stop)
        try:
            for number in range(first, self.dataset.steps):
                yield ahead.take(number)
        finally:
            ahead.stop()
            atexit.unregister(ahead.stop)


@dataclass
class _Slot:
    """A batch under way."""

    batch: Batch
    pending: int
    """Threads that have not written their rows yet."""


class _ReadAhead:
    """Threads that fill batches, at most ``prefetch`` ahead of the one that is waited for."""

    def __init__(
        self,
        dataset: CriteoDataset,
        first: int,
        workers: int,
        prefetch: int,
        *,
        pin_memory: bool,
    ) -> None:
        self._order = dataset.order
        self._lanes = dataset.lanes
        self._workers = workers
        self._prefetch = prefetch
        self._pin_memory = pin_memory
        self._changed = threading.Condition()
        self._first = self._wanted = first
        self._slots: dict[int, _Slot] = {}
        self._failures: dict[int, BaseException] = {}
        self._stopped = False
        shares = [share(dataset.lanes, worker, workers) for worker in range(workers)]
        self._threads = [
            threading.Thread(
                target=self._work,
                args=(lanes, dataset.open_lanes(first, lanes)),
                name=f"criteo-loader-{worker}",
                daemon=True,  # the interpreter does not wait for them; `stop` does
            )
            for worker, lanes in enumerate(shares)
        ]
        for thread in self._threads:
            thread.start()

    def take(self, number: int) -> Batch:
        """Wait for a batch; raise what a thread raised over it."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._failures or self._is_ready(number))
            if number in self._failures:
                raise self._failures[number]
            self._wanted = number + 1
            self._changed.notify_all()
            return self._slots.pop(number).batch

    def stop(self) -> None:
        """End the threads and wait for them."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _is_ready(self, number: int) -> bool:
        return number in self._slots and not self._slots[number].pending

    def _work(self, lanes: range, reader: LaneReader) -> None:
        number = self._first
        try:
            with closing(reader):
                while number < self._order.steps and (slot := self._slot(number)):
                    origin = self._order.lane_bounds(number, self._lanes)[0]
                    bounds = self._order.lane_bounds(number, lanes)
                    fill(reader, slot.batch, bounds[0] - origin, bounds[-1] - origin)
                    with self._changed:
                        slot.pending -= 1
                        self._changed.notify_all()
                    number += 1
        except BaseException as error:
            with self._changed:
                self._failures[number] = error
                self._changed.notify_all()

    def _slot(self, number: int) -> _Slot | None:
        """The batch to write to, once there is room for it; none after ``stop``."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or number < self._wanted + self._prefetch)
            if self._stopped:
                return None
            if number not in self._slots:
                bounds = self._order.lane_bounds(number, self._lanes)
                batch = empty_batch(bounds[-1] - bounds[0], pin_memory=self._pin_memory)
                self._slots[number] = _Slot(batch, self._workers)
            return self._slots[number]
