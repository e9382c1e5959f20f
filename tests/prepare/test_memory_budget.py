"""How a memory budget is shared out between threads and streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.errors import UsageError
from criteo_stream.prepare.host import Host
from criteo_stream.prepare.memory_budget import MemoryBudget

budgets = st.builds(
    MemoryBudget, total_bytes=st.integers(10**9, 10**12), workers=st.none() | st.integers(1, 300)
)


@given(budgets, st.integers(0, 500))
def test_streams_are_between_one_and_what_memory_and_threads_allow(
    budget: MemoryBudget, inputs: int
) -> None:
    streams = budget.streams(inputs)
    assert 1 <= streams <= budget.most_streams <= budget.threads
    assert streams <= max(1, inputs)
    assert budget.streams(inputs + 1) >= streams


@given(budgets, st.integers(0, 10**11))
def test_more_memory_is_never_fewer_streams(budget: MemoryBudget, more: int) -> None:
    larger = MemoryBudget(total_bytes=budget.total_bytes + more, workers=budget.workers)
    assert larger.most_streams >= budget.most_streams
    assert larger.threads >= budget.threads


@pytest.mark.parametrize(
    ("gigabytes", "workers", "threads", "streams"),
    [(1, 1, 1, 1), (1, 8, 3, 1), (2, 8, 8, 2), (4, 8, 8, 6), (4, 2, 2, 2), (5, 8, 8, 8)],
)
def test_what_some_budgets_allow(gigabytes: int, workers: int, threads: int, streams: int) -> None:
    budget = MemoryBudget(total_bytes=gigabytes * 10**9, workers=workers)
    assert (budget.threads, budget.most_streams) == (threads, streams)


@given(budgets.filter(lambda b: b.threads <= 16), st.integers(1, 500))
def test_the_shares_of_streams_are_no_more_than_there_is(budget: MemoryBudget, inputs: int) -> None:
    host = Host(budget)
    try:
        streams = budget.streams(inputs)
        shares = host.shares(streams)
        assert min(shares) >= 1
        assert streams * shares.blocks <= budget.most_streams
        # One more each, so that none waits for its next while the last one is worked on.
        assert streams * (shares.chunks - (streams > 1)) < budget.chunks_in_flight + streams
        assert streams * (shares.columns - (streams > 1)) < budget.columns_in_flight + streams
    finally:
        host.close()


def test_as_many_at_a_time_as_the_set_allows() -> None:
    """A worker of a cluster meets one set after the other."""
    host = Host(MemoryBudget(total_bytes=10**9, workers=1))
    with host.slot("encode", 1), host.slot("encode", 2), host.slot("encode", 2):
        pass
    host.close()


def test_a_budget_too_small_or_too_large_is_refused() -> None:
    for size in (0, 10**9 - 1, 2**63):
        with pytest.raises(UsageError, match="--memory"):
            MemoryBudget(total_bytes=size)
