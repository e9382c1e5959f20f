"""A split of a prepared data set as an iterable of whole batches."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from criteo_stream.base.amounts import counted
from criteo_stream.base.errors import DataSetError, RunError, UsageError
from criteo_stream.base.notebook import table_html
from criteo_stream.base.paths import user_path
from criteo_stream.base.schema import SPLITS, Split
from criteo_stream.data.lanes import LaneReader
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.order import LANES, Order
from criteo_stream.data.rank_share import share
from criteo_stream.data.shards import ShardReader, row_group_sizes
from criteo_stream.data.thinning import logit_shift
from criteo_stream.data.verified import VerifiedFiles

Batch = tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]
"""``(numeric float32 [b, 13], categorical int32 [b, 26]), label float32 [b]``."""

STATE_FORMAT = 1


class CriteoDataset(IterableDataset[Batch]):
    """One rank's share of every batch of a split; ``len`` is the number of its batches an epoch.

    Yields ``(numeric float32 [b, 13], categorical int32 [b, 26]), label float32 [b]``: numeric in
    [0, 1] with NaN for missing, ids local to their column. Every rank yields ``steps`` batches;
    together they hold each row exactly once an epoch, and batch t the same rows on any number of
    ranks. b is about ``batch_size / world_size``, less in the last batch, where it may be 0.

    A second iteration repeats the epoch; ``set_epoch`` moves on to another. Inside the workers of a
    ``DataLoader(dataset, batch_size=None, num_workers=k)`` each worker owns a share of the lanes,
    so that k items, in the loader's order, make up a batch, and there are k times ``len``.
    ``CriteoLoader`` puts them together, costs less, and keeps count.

    Args:
        data: Folder of the prepared set.
        split: ``train``, ``valid`` or ``test``.
        batch_size: Rows of a global batch, over all ranks.
        seed: Seed of the shuffle.
        lanes: Row groups that are mixed at any time; also the most ranks. Memory is at most ten
            megabytes a lane, shared out among the ranks.
        rank: Number of this rank.
        world_size: Number of ranks.
        shuffle: Permute the row groups and the rows inside them; by default for ``train`` only.
        verify: Compare each shard with its checksum when an epoch first opens it, and when it
            has changed since.

    Raises:
        DataSetError: the set is not complete or of another format version, or the split is empty;
            while iterating: a shard is missing or damaged.
        UsageError: an unknown split, more ranks than lanes, or a number out of range.
    """

    def __init__(
        self,
        data: Path | str,
        split: Split = "train",
        batch_size: int = 8192,
        *,
        seed: int = 0,
        lanes: int = LANES,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool | None = None,
        verify: bool = True,
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f"there is no split {split!r}: name one of {', '.join(SPLITS)}")
        if not 0 <= rank < world_size:
            raise UsageError(f"rank {rank} is not below the world size {world_size}")
        if world_size > lanes:
            raise UsageError(
                f"{world_size} ranks cannot share {counted(lanes, 'lane')}: use at most "
                f"{counted(lanes, 'rank')}, "
                "or start a new run with more lanes"
            )
        self.data = user_path(data)
        self.manifest = Manifest.read(self.data)
        self.split = split
        self.epoch = 0
        self.order = Order(
            group_rows=row_group_sizes(self.manifest.shards[split], self.manifest.row_group_rows),
            batch_size=batch_size,
            lanes=lanes,
            seed=seed,
            shuffle=split == "train" if shuffle is None else shuffle,
        )
        if not self.order.rows:
            raise DataSetError(
                f"the {split} split of {self.data} has no rows: "
                "prepare the set with another split, or use another one of its splits"
            )
        self.lanes = share(range(lanes), rank, world_size)
        self._world_size = world_size
        self._verified = VerifiedFiles() if verify else None
        self.batches_consumed = 0
        """Batches of the current epoch handed out so far."""
        self._first_batch = 0

    def __len__(self) -> int:
        return self.steps

    def __repr__(self) -> str:
        return (
            f"<CriteoDataset {self.data}, {self.split}: {self.rows:,} rows in {self.steps:,} "
            f"batches of {self.order.batch_size:,}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("rows", f"{self.rows:,}"),
            ("positives", f"{sum(s.positives for s in self.manifest.shards[self.split]):,}"),
            ("batches", f"{self.steps:,}"),
            ("batch size", f"{self.order.batch_size:,}"),
            ("numeric columns", self.d_numerical),
            ("categorical columns", len(self.categories)),
            ("ids", f"{sum(self.categories):,}"),
        ]
        return table_html(f"{self.data}, {self.split}", rows)

    @property
    def d_numerical(self) -> int:
        """Numeric columns, as models ask for them."""
        return len(self.manifest.numeric)

    @property
    def categories(self) -> list[int]:
        """Size of each categorical column's id space, as models ask for it."""
        return list(self.manifest.categories)

    @property
    def rows(self) -> int:
        """Rows of the split."""
        return self.order.rows

    @property
    def steps(self) -> int:
        """Batches of an epoch, the same on every rank."""
        return self.order.steps

    @property
    def logit_shift(self) -> float:
        """Add it to a model's logits where they meet this split's labels; see `thinning`."""
        return logit_shift(self.manifest, self.split)

    def rows_in_batch(self, batch: int) -> int:
        """Rows of a global batch, over all ranks: what a summed loss is divided by."""
        return self.order.rows_in_batch(batch)

    def most_rows_of_a_rank(self, batch: int) -> int:
        """Rows of a global batch that the rank with most of them has."""
        shares = (
            share(range(self.order.lanes), rank, self._world_size)
            for rank in range(self._world_size)
        )
        bounds = (self.order.lane_bounds(batch, lanes) for lanes in shares)
        return max(ends[-1] - ends[0] for ends in bounds)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, unless it is the current one, whose place is kept."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches_consumed = self._first_batch = 0

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        lanes = share(self.lanes, worker.id, worker.num_workers) if worker else self.lanes
        for batch in self.stream(self.begin(), lanes):
            self.batches_consumed += 1
            yield batch

    def begin(self) -> int:
        """First batch of the iteration that begins now: 0, or a loaded position, once."""
        self.batches_consumed, self._first_batch = self._first_batch, 0
        if self._verified is not None:
            self._verified.forget()
        return self.batches_consumed

    def stream(self, first: int, lanes: range, *, pin_memory: bool = False) -> Iterator[Batch]:
        """Some lanes' share of the batches from one on, without counting them as consumed."""
        with closing(self.open_lanes(first, lanes)) as reader:
            for number in range(first, self.steps):
                bounds = self.order.lane_bounds(number, lanes)
                batch = empty_batch(bounds[-1] - bounds[0], pin_memory=pin_memory)
                fill(reader, batch)
                yield batch

    def open_lanes(self, first: int, lanes: range) -> LaneReader:
        """A reader of some of this rank's lanes in the current epoch, from a batch on."""
        return LaneReader(self.open_shards(), self.order, self.epoch, lanes, first)

    def open_shards(self) -> ShardReader:
        """A reader of the split's row groups, for one thread."""
        return ShardReader(
            self.data,
            self.manifest.shards[self.split],
            self.manifest.row_group_rows,
            self.manifest.categories,
            self._verified,
        )

    def state_dict(self, batches_consumed: int | None = None) -> dict[str, object]:
        """The position in the epoch, and what it is a position in; plain JSON values.

        Args:
            batches_consumed: Batches of this epoch that are done with; by default those handed out.
        """
        batch = self.batches_consumed if batches_consumed is None else batches_consumed
        return self.identity | {"epoch": self.epoch, "batch": batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration continue from a position, also one saved on other ranks.

        Raises:
            RunError: the position is not one of this data set, split and order.
        """
        for name, here in self.identity.items():
            if (saved := state.get(name)) != here:
                raise RunError(
                    f"the saved position has {name.replace('_', ' ')} {saved!r} where this data "
                    f"set has {here!r}: continue with what the run began with, or start a new run"
                )
        epoch, batch = state.get("epoch"), state.get("batch")
        if not (isinstance(epoch, int) and isinstance(batch, int) and 0 <= batch <= self.steps):
            raise RunError(
                f"the saved position is damaged (epoch {epoch!r}, batch {batch!r} of "
                f"{self.steps}): continue from another checkpoint"
            )
        self.epoch = epoch
        self.batches_consumed = self._first_batch = batch

    @property
    def identity(self) -> dict[str, object]:
        """Data set, split and order that a position belongs to; plain JSON values."""
        return {
            "format": STATE_FORMAT,
            "fingerprint": self.manifest.fingerprint,
            "split": self.split,
            "seed": self.order.seed,
            "shuffle": self.order.shuffle,
            "lanes": self.order.lanes,
            "batch_size": self.order.batch_size,
        }


def empty_batch(rows: int, *, pin_memory: bool = False) -> Batch:
    """A batch to be filled, in page-locked memory if asked for."""
    return (
        torch.empty(rows, 13, dtype=torch.float32, pin_memory=pin_memory),
        torch.empty(rows, 26, dtype=torch.int32, pin_memory=pin_memory),
    ), torch.empty(rows, dtype=torch.float32, pin_memory=pin_memory)


def fill(reader: LaneReader, batch: Batch, begin: int = 0, end: int | None = None) -> None:
    """Let a reader write its share of the next batch into the rows from ``begin`` to ``end``."""
    (numeric, categorical), label = batch
    reader.fill(*(tensor[begin:end].numpy() for tensor in (numeric, categorical, label)))
