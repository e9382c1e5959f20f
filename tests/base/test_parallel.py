"""Work in order: nothing is lost or swapped, little is in flight, and a failure ends the rest."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.parallel import ordered_map


class SlowPool(Executor):
    """Runs nothing until it must: what a pool of busy threads looks like to its caller."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = _Lazy(lambda: fn(*args, **kwargs))
        self.futures.append(future)
        return future

    @property
    def in_flight(self) -> int:
        return sum(not future.done() for future in self.futures)


class _Lazy(Future[Any]):
    def __init__(self, work: Any) -> None:
        super().__init__()
        self._work = work

    def result(self, timeout: float | None = None) -> Any:
        if self.set_running_or_notify_cancel():
            try:
                self.set_result(self._work())
            except ValueError as error:
                self.set_exception(error)
        return super().result(timeout)


def counted(items: range, drawn: list[int]) -> Iterator[int]:
    for item in items:
        drawn.append(item)
        yield item


def square_or_fail(number: int, fails_at: int | None = None) -> int:
    if number == fails_at:
        raise ValueError(f"{number} fails")
    return number * number


@given(st.integers(0, 60), st.integers(1, 10), st.integers(1, 4))
def test_results_come_in_order(items: int, ahead: int, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        found = list(ordered_map(pool, square_or_fail, range(items), ahead))
    assert found == [n * n for n in range(items)]


def test_a_slow_first_item_holds_its_place() -> None:
    others_done = threading.Barrier(3)

    def work(number: int) -> int:
        if number < 3:  # none of the three ends before all have begun
            others_done.wait(60)
        return number

    with ThreadPoolExecutor(3) as pool:
        assert list(ordered_map(pool, work, range(9), 3)) == list(range(9))


@given(st.integers(0, 30), st.integers(1, 8))
def test_no_more_is_drawn_than_is_in_flight(items: int, ahead: int) -> None:
    pool, drawn = SlowPool(), list[int]()
    results = ordered_map(pool, square_or_fail, counted(range(items), drawn), ahead)
    assert not drawn  # nothing happens before the first result is asked for
    for taken, result in enumerate(results, start=1):
        assert result == (taken - 1) ** 2
        assert len(drawn) == min(items, taken - 1 + ahead)
        assert pool.in_flight <= ahead - 1
    assert len(drawn) == items


@given(st.integers(1, 30), st.integers(1, 8), st.data())
def test_a_failure_cancels_what_has_not_begun(items: int, ahead: int, data: st.DataObject) -> None:
    fails_at = data.draw(st.integers(0, items - 1))
    pool, drawn, found = SlowPool(), list[int](), list[int]()
    results = ordered_map(
        pool, lambda n: square_or_fail(n, fails_at), counted(range(items), drawn), ahead
    )
    with pytest.raises(ValueError, match=f"^{fails_at} fails$"):
        found.extend(results)
    assert len(drawn) == min(items, fails_at + ahead)
    assert [f.cancelled() for f in pool.futures] == [n > fails_at for n in drawn]
    assert not pool.in_flight


@given(st.integers(1, 30), st.integers(1, 8), st.data())
def test_leaving_early_cancels_what_has_not_begun(
    items: int, ahead: int, data: st.DataObject
) -> None:
    taken = data.draw(st.integers(1, items))
    pool = SlowPool()
    results = ordered_map(pool, square_or_fail, range(items), ahead)
    for _ in range(taken):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert [f.cancelled() for f in pool.futures] == [n >= taken for n in range(len(pool.futures))]
    assert not list(results)


def test_items_are_drawn_in_the_caller_s_thread() -> None:
    threads: set[int] = set()

    def items() -> Iterator[int]:
        for item in range(20):
            threads.add(threading.get_ident())
            yield item

    with ThreadPoolExecutor(2) as pool:
        assert len(list(ordered_map(pool, square_or_fail, items(), 3))) == 20
    assert threads == {threading.get_ident()}


def test_what_came_before_an_item_that_cannot_be_drawn_comes_first() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("the source is damaged")

    with ThreadPoolExecutor(2) as pool:
        results = ordered_map(pool, lambda item: item * 10, items(), 4)
        found = [next(results) for _ in range(5)]
        with pytest.raises(OSError, match="the source is damaged"):
            next(results)
    assert found == [0, 10, 20, 30, 40]
