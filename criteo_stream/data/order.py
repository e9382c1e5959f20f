"""The order of an epoch: which rows make up global batch t, and who reads them.

Everything here is a pure function of (seed, epoch, sizes of the row groups, global batch size,
lanes); nothing depends on the number of ranks or workers, so a run continues on any of them.

The row groups, permuted and laid end to end, are the epoch's rows. They are cut into ``lanes``
contiguous ranges, and every batch takes about ``batch_size / lanes`` rows from each:

    permuted groups  |  g7  |  g2  |  g9  |  g0  | …        rows shuffled again inside each group
    lanes            |    lane 0    |    lane 1    | …
    batch t          =  rows [t·s₀, (t+1)·s₀) of lane 0, rows [t·s₁, (t+1)·s₁) of lane 1, …

Lane l of L gives ⌊(l+1)·b/L⌋ − ⌊l·b/L⌋ rows to a batch of b: every batch but the last has exactly
``batch_size`` rows, and the place of a lane at batch t is a multiplication.

A consumer (a rank, or a worker of one) owns neighbouring lanes and decodes each group that they
touch once: with c consumers at most groups + c − 1 decodes an epoch.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import LARGEST, LARGEST_SEED, shown
from criteo_stream.data.rank_share import MOST_LANES

Int64s = npt.NDArray[np.int64]

LANES = 16
"""Default number of lanes; a run can use as many ranks as it has lanes."""


class Segment(NamedTuple):
    """Neighbouring rows of a row group, in the epoch's order of that group."""

    group: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """The order of a split's rows in every epoch.

    Raises:
        UsageError: the batch size, the number of lanes or the seed is out of range.
    """

    group_rows: Int64s
    """[groups] rows of every row group, through all shards; none is empty."""
    batch_size: int
    """Rows of a global batch, over all ranks."""
    lanes: int = LANES
    seed: int = 0
    shuffle: bool = True
    """Without, groups and their rows stay as written; one lane is then file order."""

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("batch size", self.batch_size, 1, LARGEST),
            ("number of lanes", self.lanes, 1, MOST_LANES),
            ("seed", self.seed, 0, LARGEST_SEED),
        ):
            if value < least:
                raise UsageError(f"the {name} is {shown(value)}: give {least} or more")
            if value > most:
                raise UsageError(f"the {name} is {shown(value)}: give {shown(most)} or less")

    @cached_property
    def rows(self) -> int:
        """Rows of an epoch."""
        return int(self.group_rows.sum())

    @property
    def steps(self) -> int:
        """Batches of an epoch; the last may be short."""
        return -(-self.rows // self.batch_size)

    def rows_in_batch(self, batch: int) -> int:
        """Rows of a global batch, over all ranks."""
        return min(self.batch_size, self.rows - batch * self.batch_size)

    def rows_after(self, step: int) -> int:
        """Global rows of the first steps, counted through the epochs."""
        epochs, batches = divmod(step, self.steps)
        return epochs * self.rows + min(batches * self.batch_size, self.rows)

    def lane_bounds(self, batch: int, lanes: range) -> list[int]:
        """Where the rows of neighbouring lanes begin and end within a global batch."""
        rows = self.rows_in_batch(batch)
        return [lane * rows // self.lanes for lane in range(lanes.start, lanes.stop + 1)]

    def plan(self, epoch: int, lanes: range, batch: int = 0) -> list[list[Segment]]:
        """The segments that some lanes have left to read in an epoch.

        Args:
            epoch: Number of the epoch.
            lanes: Neighbouring lanes, those of one consumer.
            batch: First batch to read; at ``steps`` nothing is left.

        Returns:
            Per lane its segments in order, none of them empty.
        """
        groups = self._group_order(epoch)
        group_bounds = np.concatenate([[0], np.cumsum(self.group_rows[groups])])
        full, rest = divmod(self.rows, self.batch_size)
        full_bounds, rest_bounds = self._cut(self.batch_size), self._cut(rest)
        lane_bounds = full * full_bounds + rest_bounds
        consumed = np.diff(min(batch, full) * full_bounds + (batch > full) * rest_bounds)
        plan = []
        for lane in lanes:
            first, last = lane_bounds[lane] + consumed[lane], lane_bounds[lane + 1]
            low = np.searchsorted(group_bounds, first, side="right") - 1
            high = np.searchsorted(group_bounds, last, side="left")
            cuts = np.clip(group_bounds[low : high + 1], first, last)
            starts = cuts[:-1] - group_bounds[low:high]
            segments = zip(groups[low:high], starts, np.diff(cuts), strict=True)
            plan.append([Segment(int(g), int(s), int(s + n)) for g, s, n in segments if n])
        return plan

    def rows_of_group(self, epoch: int, group: int) -> Int64s:
        """[rows] the epoch's order of a row group, as numbers of its rows as written."""
        rows = int(self.group_rows[group])
        if not self.shuffle:
            return np.arange(rows)
        # A radix sort of 16-bit keys costs a third of Generator.permutation. Rows with equal keys
        # keep their order, which leaves less order behind than the mixing of blocks at writing.
        keys = _random_keys(-(-rows // 4), self.seed, epoch, group).view("<u2")[:rows]
        return np.argsort(keys, kind="stable")

    def _group_order(self, epoch: int) -> Int64s:
        groups = len(self.group_rows)
        if not self.shuffle:
            return np.arange(groups)
        return np.argsort(_random_keys(groups, self.seed, epoch), kind="stable")

    def _cut(self, rows: int) -> Int64s:
        """[lanes + 1] bounds of ``rows`` shared out evenly among the lanes."""
        return np.arange(self.lanes + 1) * rows // self.lanes


def _random_keys(count: int, seed: int, *place: int) -> npt.NDArray[np.uint64]:
    """Little-endian random bits that no version of NumPy changes, unlike Generator's methods."""
    source = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place))
    return source.random_raw(count).astype("<u8", copy=False)
