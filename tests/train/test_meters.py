"""Meters: the mean is of all rows of all ranks, and going on changes none of its bits."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.ranks import Ranks
from criteo_stream.train import meters
from criteo_stream.train.meters import Clock, RunningLoss

BATCH = st.tuples(st.floats(0, 1e6, width=32), st.integers(1, 10**6))
BATCHES = st.lists(BATCH, min_size=1, max_size=20)


class Together(Ranks):
    """One of several ranks in one process: the others' values are given."""

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        return [*self.others[: self.rank], list(values), *self.others[self.rank :]]

    @property
    def others(self) -> list[list[float]]:
        return OTHERS[self.world_size - 1]


OTHERS: list[list[list[float]]] = [[], [[3.5, 7]], [[3.5, 7], [0.1, 1]]]
"""Sum and rows of the other ranks, by their number."""


def rank_of(rank: int, world_size: int) -> Ranks:
    return Together(rank, world_size, rank, world_size, torch.device("cpu"))


def running_loss(batches: Sequence[tuple[float, int]], ranks: Ranks) -> RunningLoss:
    loss = RunningLoss(ranks)
    for loss_sum, rows in batches:
        loss.add(torch.tensor(loss_sum), rows)
    return loss


@given(BATCHES)
def test_the_mean_is_of_rows_not_of_batches(batches: list[tuple[float, int]]) -> None:
    loss = running_loss(batches, rank_of(0, 1))
    sums, rows = zip(*batches, strict=True)
    assert math.isclose(loss.mean_here(), math.fsum(sums) / sum(rows), rel_tol=1e-12)
    assert math.isclose(loss.take_mean(), math.fsum(sums) / sum(rows), rel_tol=1e-12)


@given(BATCHES, st.integers(2, 3), st.data())
def test_the_mean_is_over_all_ranks(
    batches: list[tuple[float, int]], world_size: int, data: st.DataObject
) -> None:
    loss = running_loss(batches, rank_of(data.draw(st.integers(0, world_size - 1)), world_size))
    every = [*batches, *OTHERS[world_size - 1]]
    sums, rows = math.fsum(s for s, _ in every), sum(rows for _, rows in every)
    assert math.isclose(loss.take_mean(), sums / rows, rel_tol=1e-12)


@given(BATCHES, BATCHES)
def test_it_starts_over_when_taken(
    before: list[tuple[float, int]], after: list[tuple[float, int]]
) -> None:
    loss = running_loss(before, rank_of(0, 1))
    loss.take_mean()
    assert loss.mean_here() == 0
    for loss_sum, rows in after:
        loss.add(torch.tensor(loss_sum), rows)
    assert loss.take_mean() == running_loss(after, rank_of(0, 1)).take_mean()


@given(BATCHES, BATCHES, st.integers(0, 2))
def test_it_goes_on_with_the_same_bits(
    before: list[tuple[float, int]], after: list[tuple[float, int]], rank: int
) -> None:
    whole = running_loss(before, rank_of(rank, 3))
    continued = RunningLoss(rank_of(rank, 3))
    continued.load_state(whole.state())
    assert continued.state() == whole.state()
    for loss_sum, rows in after:
        for loss in (whole, continued):
            loss.add(torch.tensor(loss_sum), rows)
    assert continued.state() == whole.state()
    assert continued.take_mean() == whole.take_mean()


@given(st.lists(BATCH, min_size=1, max_size=5), st.integers(1, 5))
def test_other_ranks_go_on_with_the_same_total(
    state: list[tuple[float, int]], world_size: int
) -> None:
    found = []
    for rank in range(world_size):
        ranks = Ranks(rank, world_size, rank, world_size, torch.device("cpu"))
        loss = RunningLoss(ranks)
        loss.load_state([list(of_rank) for of_rank in state])
        found.append((float(loss._sum), loss._rows))
    assert math.fsum(s for s, _ in found) == math.fsum(s for s, _ in state)
    assert sum(rows for _, rows in found) == sum(rows for _, rows in state)
    if world_size == len(state):
        assert found == state


def test_sums_are_wide() -> None:
    loss = RunningLoss(rank_of(0, 1))
    for _ in range(10):  # as a float32, 2²⁴ + 1 is 2²⁴
        loss.add(torch.tensor(2.0**24), 1)
        loss.add(torch.tensor(1.0), 1)
    assert loss.take_mean() == (2**24 + 1) / 2


def test_a_rank_without_rows_has_a_mean() -> None:
    assert RunningLoss(rank_of(0, 1)).mean_here() == 0
    assert RunningLoss(rank_of(0, 2)).take_mean() == 0.5


# Powers of two add up exactly.
SPANS = st.lists(
    st.tuples(st.integers(0, 2**20), st.integers(0, 2**20), st.integers(0, 2**20), st.booleans())
)


@given(SPANS)
def test_the_clock_counts_steps_and_leaves_out_what_is_between(
    spans: list[tuple[int, int, int, bool]],
) -> None:
    now = waited = total = 0.0
    since = [0.0, 0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meters.time, "perf_counter", lambda: now)
        clock = Clock()
        for between, busy, waiting, take in spans:
            now += between / 1024
            waited += between / 4096  # the loader goes on while an evaluation runs
            clock.start(waited)
            now += (busy + waiting) / 1024
            waited += waiting / 1024
            clock.stop(waited)
            total += (busy + waiting) / 1024
            since[0] += (busy + waiting) / 1024
            since[1] += waiting / 1024
            assert clock.total_seconds == total
            if take:
                assert clock.take() == tuple(since)
                assert clock.take() == (0, 0)
                since = [0.0, 0.0]
    assert clock.take() == tuple(since)
