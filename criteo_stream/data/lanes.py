"""Lanes: rows decoded once, in the epoch's order, and handed out batch by batch."""

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from criteo_stream.data.order import Order, Segment
from criteo_stream.data.shards import RowGroup, ShardReader


class LaneReader:
    """Reads neighbouring lanes, those of one consumer.

    Each row group that the lanes touch is decoded once. Where one reaches into several lanes, the
    first to need it keeps the others' rows for them; so memory is at most two row groups a lane
    (5 MB each at the default size), whatever the size of the set.

    Args:
        reader: Reader of the split's shards; the lanes close it.
        order: Order of the split.
        epoch: Number of the epoch.
        lanes: The consumer's lanes.
        batch: First batch to read.
    """

    def __init__(
        self, reader: ShardReader, order: Order, epoch: int, lanes: range, batch: int
    ) -> None:
        self.decoded = 0
        """Row groups decoded so far."""
        self._reader = reader
        self._order = order
        self._epoch = epoch
        self._lanes = lanes
        self._batch = batch
        plan = order.plan(epoch, lanes, batch)
        self._segments = [iter(segments) for segments in plan]
        self._rows = [_NO_ROWS] * len(lanes)
        self._place = [0] * len(lanes)
        users: defaultdict[int, list[Segment]] = defaultdict(list)
        for segments in plan:
            # Only the ends of a lane can share their group with another lane.
            for segment in dict.fromkeys(segments[:1] + segments[-1:]):
                users[segment.group].append(segment)
        self._users = {group: u for group, u in users.items() if len(u) > 1}
        self._kept: dict[Segment, RowGroup] = {}

    def fill(
        self,
        numeric: npt.NDArray[np.float32],
        categorical: npt.NDArray[np.int32],
        label: npt.NDArray[np.float32],
    ) -> None:
        """Write the consumer's rows of the next batch.

        Args:
            numeric: [b, 13], b being the lanes' rows in the batch (``Order.lane_bounds``).
            categorical: [b, 26].
            label: [b].

        Raises:
            DataSetError: a shard is missing or damaged.
        """
        bounds = self._order.lane_bounds(self._batch, self._lanes)
        begin = 0
        for lane, bound in enumerate(bounds[1:]):
            end = bound - bounds[0]
            while begin < end:
                if self._place[lane] == len(self._rows[lane].label):
                    self._rows[lane] = _NO_ROWS  # free them before the next are decoded
                    self._rows[lane], self._place[lane] = self._next_rows(lane), 0
                left = len(self._rows[lane].label) - self._place[lane]
                into = slice(begin, min(end, begin + left))
                begin = into.stop
                self._copy(lane, numeric[into], categorical[into], label[into])
        self._batch += 1

    def close(self) -> None:
        """Close the shards."""
        self._reader.close()

    def _copy(
        self,
        lane: int,
        numeric: npt.NDArray[np.float32],
        categorical: npt.NDArray[np.int32],
        label: npt.NDArray[np.float32],
    ) -> None:
        rows, place = self._rows[lane], self._place[lane]
        self._place[lane] += len(label)
        numeric[:] = rows.numeric[place : self._place[lane]]
        categorical[:] = rows.categorical[place : self._place[lane]]
        label[:] = rows.label[place : self._place[lane]]

    def _next_rows(self, lane: int) -> RowGroup:
        segment = next(self._segments[lane])
        if segment in self._kept:
            return self._kept.pop(segment)
        group = self._reader.read(segment.group)
        self.decoded += 1
        order = self._order.rows_of_group(self._epoch, segment.group)
        for other in self._users.pop(segment.group, ()):
            if other != segment:
                self._kept[other] = _take(group, order[other.start : other.stop])
        return _take(group, order[segment.start : segment.stop])


def _take(group: RowGroup, rows: npt.NDArray[np.int64]) -> RowGroup:
    return RowGroup(
        group.numeric.take(rows, axis=0),
        group.categorical.take(rows, axis=0),
        group.label.take(rows),
    )


_NO_ROWS = RowGroup(
    np.empty((0, 13), np.float32), np.empty((0, 26), np.int32), np.empty(0, np.uint8)
)
