"""A split that is read once and stays in memory, of a GPU or of the host.

Batches are the same as from disk, bit for bit and in the same order: the order is a pure function
of the split, and says which row comes where.
"""

import itertools
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from time import perf_counter
from typing import Final

import numpy as np
import torch
from torch import Tensor

from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.data.order import Int64s

ROW_BYTES: Final = 160 + 4
"""A row in memory, and its place in the epoch's order."""
MOST_ROWS: Final = 2**31 - 1
"""Rows are numbered in 32 bits."""


class ResidentLoader:
    """Iterates a dataset's batches like `CriteoLoader`, from memory; the first one waits for all.

    Args:
        dataset: what to iterate; the loader keeps the position in it.
        device: where the split stays, and where batches come from.
        workers: threads that read, and that shuffle an epoch; at least one.
        pin_memory: put batches of the host into page-locked memory.
    """

    def __init__(
        self,
        dataset: CriteoDataset,
        device: torch.device,
        workers: int = 1,
        *,
        pin_memory: bool = False,
    ) -> None:
        self.dataset = dataset
        self.wait_seconds = 0.0
        """Time that callers spent waiting for a batch, over all iterations."""
        self._device = device
        self._workers = max(1, workers)
        self._pin_memory = pin_memory and device.type == "cpu"
        self._starts = np.cumsum([0, *dataset.order.group_rows])  # [groups + 1]
        rows = dataset.rows
        assert rows <= MOST_ROWS
        self._numeric = torch.empty(rows, 13, device=device)
        self._categorical = torch.empty(rows, 26, dtype=torch.int32, device=device)
        self._label = torch.empty(rows, device=device)
        self._is_read = False

    def __len__(self) -> int:
        return self.dataset.steps

    def __iter__(self) -> Generator[Batch]:
        dataset = self.dataset
        first = dataset.begin()
        asked = perf_counter()
        if not self._is_read:
            self._read()
            self._is_read = True
        places = self._places(first).to(self._device)  # int32 [rows that this rank has left]
        self.wait_seconds += perf_counter() - asked
        begin = 0
        for number in range(first, dataset.steps):
            bounds = dataset.order.lane_bounds(number, dataset.lanes)
            end = begin + bounds[-1] - bounds[0]
            rows = places[begin:end]
            begin = end
            dataset.batches_consumed += 1
            numeric, categorical, label = (
                self._taken(part, rows) for part in (self._numeric, self._categorical, self._label)
            )
            yield (numeric, categorical), label

    def _taken(self, part: Tensor, rows: Tensor) -> Tensor:
        taken = part.index_select(0, rows)
        return taken.pin_memory() if self._pin_memory else taken

    def _read(self) -> None:
        """Decode all row groups; each thread has a reader of its own."""
        groups = iter(range(len(self._starts) - 1))
        turn = threading.Lock()

        def work() -> None:
            with closing(self.dataset.open_shards()) as reader:
                while True:
                    with turn:
                        group = next(groups, None)
                    if group is None:
                        return
                    found = reader.read(group)
                    into = slice(int(self._starts[group]), int(self._starts[group + 1]))
                    self._numeric[into] = torch.from_numpy(found.numeric)
                    self._categorical[into] = torch.from_numpy(found.categorical)
                    self._label[into] = torch.from_numpy(found.label.astype(np.float32))

        with ThreadPoolExecutor(self._workers, "criteo-resident") as pool:
            for done in [pool.submit(work) for _ in range(self._workers)]:
                done.result()

    def _places(self, first: int) -> Tensor:
        """int32: which row of the split comes where in this rank's batches, from one on."""
        order, epoch, lanes = self.dataset.order, self.dataset.epoch, self.dataset.lanes
        plan = order.plan(epoch, lanes, first)

        def lane_rows(lane: int) -> Int64s:
            parts = [
                self._starts[s.group] + order.rows_of_group(epoch, s.group)[s.start : s.stop]
                for s in plan[lane]
            ]
            return np.concatenate([np.empty(0, np.int64), *parts])

        with ThreadPoolExecutor(self._workers, "criteo-order") as pool:
            left = list(pool.map(lane_rows, range(len(lanes))))
        taken = [0] * len(lanes)
        parts: list[Int64s] = []
        for number in range(first, order.steps):
            bounds = order.lane_bounds(number, lanes)
            for lane, (begin, end) in enumerate(itertools.pairwise(bounds)):
                parts.append(left[lane][taken[lane] : taken[lane] + end - begin])
                taken[lane] += end - begin
        places = np.concatenate([np.empty(0, np.int64), *parts])
        return torch.from_numpy(places.astype(np.int32))
