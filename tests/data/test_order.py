from collections.abc import Iterable
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.errors import UsageError
from criteo_stream.data.order import Order
from criteo_stream.data.rank_share import share


@st.composite
def orders(draw: st.DrawFn) -> Order:
    sizes = st.lists(st.integers(1, 40), min_size=1, max_size=25)
    return Order(
        group_rows=np.array(draw(sizes)),
        batch_size=draw(st.integers(1, 150)),
        lanes=draw(st.integers(1, 20)),
        seed=draw(st.integers(0, 2**40)),
        shuffle=draw(st.booleans()),
    )


def batches(order: Order, epoch: int, lanes: range, batch: int = 0) -> list[list[int]]:
    """Row numbers of each batch, by the plan alone."""
    offsets = np.concatenate([[0], np.cumsum(order.group_rows)])
    streams = [
        [
            row
            for group, start, stop in segments
            for row in offsets[group] + order.rows_of_group(epoch, group)[start:stop]
        ]
        for segments in order.plan(epoch, lanes, batch)
    ]
    result = []
    for number in range(batch, order.steps):
        counts = np.diff(order.lane_bounds(number, lanes))
        result.append([int(row) for s, n in zip(streams, counts, strict=True) for row in s[:n]])
        streams = [s[n:] for s, n in zip(streams, counts, strict=True)]
    assert not any(streams), "the plan holds more rows than the batches take"
    return result


def joined(parts: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


@given(order=orders(), epoch=st.integers(0, 1000))
def test_every_row_exactly_once_in_batches_of_the_promised_size(order: Order, epoch: int) -> None:
    epoch_batches = batches(order, epoch, range(order.lanes))
    assert sorted(joined(epoch_batches)) == list(range(order.rows))
    sizes = [len(batch) for batch in epoch_batches]
    assert sizes == [order.rows_in_batch(number) for number in range(order.steps)]
    assert all(size == order.batch_size for size in sizes[:-1])
    assert sum(sizes) == order.rows


@given(order=orders(), data=st.data())
def test_ranks_and_workers_share_each_batch(order: Order, data: st.DataObject) -> None:
    whole = batches(order, 3, range(order.lanes))
    ranks = data.draw(st.integers(1, order.lanes))
    workers = data.draw(st.integers(1, 4))
    parts = [
        batches(order, 3, share(share(range(order.lanes), rank, ranks), worker, workers))
        for rank in range(ranks)
        for worker in range(workers)
    ]
    for number, batch in enumerate(whole):
        assert joined(part[number] for part in parts) == batch


@given(order=orders(), data=st.data())
def test_the_rest_after_a_batch_is_the_rest(order: Order, data: st.DataObject) -> None:
    whole = batches(order, 1, range(order.lanes))
    ranks = data.draw(st.integers(1, order.lanes))
    somewhere = data.draw(st.integers(0, order.steps))
    for batch in {0, min(1, order.steps), somewhere, order.steps - 1, order.steps}:
        parts = [
            batches(order, 1, share(range(order.lanes), rank, ranks), batch)
            for rank in range(ranks)
        ]
        rest = [joined(part[n] for part in parts) for n in range(order.steps - batch)]
        assert rest == whole[batch:]


@given(order=orders(), data=st.data())
def test_a_consumer_touches_few_groups(order: Order, data: st.DataObject) -> None:
    consumers = data.draw(st.integers(1, order.lanes))
    touched = [
        {
            segment.group
            for segments in order.plan(0, share(range(order.lanes), consumer, consumers))
            for segment in segments
        }
        for consumer in range(consumers)
    ]
    assert sum(map(len, touched)) <= len(order.group_rows) + consumers - 1


@given(order=orders())
def test_only_the_ends_of_a_lane_share_their_group(order: Order) -> None:
    plan = order.plan(0, range(order.lanes))
    inner = [segment.group for segments in plan for segment in segments[1:-1]]
    everything = [segment.group for segments in plan for segment in segments]
    assert all(everything.count(group) == 1 for group in inner)
    assert all(segment.start < segment.stop for segments in plan for segment in segments)


@given(lanes=st.integers(0, 40), begin=st.integers(0, 9), parts=st.integers(1, 50))
def test_shares_are_neighbours_that_cover_all(lanes: int, begin: int, parts: int) -> None:
    owned = range(begin, begin + lanes)
    shares = [share(owned, part, parts) for part in range(parts)]
    assert [lane for s in shares for lane in s] == list(owned)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shuffling_depends_on_seed_and_epoch_only() -> None:
    def first_batch(seed: int, epoch: int) -> list[int]:
        order = Order(group_rows=np.full(50, 100), batch_size=500, seed=seed)
        return batches(order, epoch, range(16))[0]

    assert first_batch(5, 2) == first_batch(5, 2)
    different = [first_batch(seed, epoch) for seed in (5, 6, 2**32 + 5) for epoch in (0, 1, 2)]
    assert len({tuple(batch) for batch in different}) == len(different)


def test_unshuffled_single_lane_is_file_order() -> None:
    order = Order(group_rows=np.array([7, 3, 5]), batch_size=4, lanes=1, shuffle=False)
    assert joined(batches(order, 9, range(1))) == list(range(15))


def test_the_order_is_the_same_with_every_version_of_numpy() -> None:
    """A run that goes on after an upgrade must not repeat or lose rows: values from numpy 2.4."""
    order = Order(group_rows=np.full(8, 10), batch_size=16, lanes=4, seed=7)
    groups = [[segment.group for segment in lane] for lane in order.plan(1, range(4))]
    assert groups == [[1, 4], [3, 2], [6, 5], [0, 7]]
    assert order.rows_of_group(1, 3).tolist() == [9, 3, 7, 1, 2, 6, 8, 5, 4, 0]


def test_rows_are_well_mixed() -> None:
    """Mean displacement of a uniform permutation of n is n / 3; no row group stays in place."""
    order = Order(group_rows=np.full(300, 3000), batch_size=100)
    rows = order.rows_of_group(0, 5)
    assert abs(np.abs(rows - np.arange(3000)).mean() / 3000 - 1 / 3) < 0.02
    groups = [s.group for lane in order.plan(0, range(16)) for s in lane]
    assert abs(np.abs(np.array(groups[:300]) - np.arange(300)).mean() / 300 - 1 / 3) < 0.05


def test_a_terabyte_plan_is_quick_and_exact() -> None:
    """4.2 billion rows: counts pass 2^32, a plan takes a fraction of a second."""
    order = Order(group_rows=np.full(134_000, 2**15), batch_size=65_536)
    assert order.rows == 134_000 * 2**15 > 2**32
    plan = order.plan(0, range(16), order.steps - 1)
    assert sum(s.stop - s.start for lane in plan for s in lane) == order.rows_in_batch(
        order.steps - 1
    )


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("lanes", 0), ("lanes", -3), ("seed", -1)]
)
def test_numbers_out_of_range_are_refused(name: str, value: int) -> None:
    facts = {"batch_size": 1, "lanes": 1, "seed": 0} | {name: value}
    with pytest.raises(UsageError, match=f"is {value}: give"):
        Order(group_rows=np.array([3]), **facts)
