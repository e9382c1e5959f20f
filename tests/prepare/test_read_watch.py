"""Malformed lines of several streams: the first in the inputs' order, and how many there are."""

import io
import pickle
import threading
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.progress import Progress
from criteo_stream.prepare.read_watch import ReadWatch, TooManyRejectsError
from criteo_stream.raw.malformed import Reject


def reject(source: int, line: int) -> Reject:
    return Reject(file=f"day_{source}", line=line, reason="it is blank", text="")


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50), st.integers(0, 4)), min_size=1),
    st.integers(0, 30),
)
def test_the_first_of_all_that_were_heard_of_is_named(
    heard: list[tuple[int, int, int]], allowed: int
) -> None:
    watch = ReadWatch(allowed)
    total = 0
    for number, (source, line, count) in enumerate(heard):
        total += count
        found = [reject(source, line + i) for i in range(count)]
        if total <= allowed or not count:
            watch.rejected(source, count, found)
            continue
        with pytest.raises(TooManyRejectsError) as error:
            watch.rejected(source, count, found)
        first = min((s, at) for s, at, c in heard[: number + 1] if c)
        assert (error.value.source, error.value.first.line) == first
        assert error.value.rejected == total
        assert str(error.value).startswith(f"day_{first[0]}, line {first[1]}: it is blank (")
        lines = "line" if total == 1 else "lines"
        told = f"({total} malformed {lines} so far, --max-bad-rows is {allowed})"
        assert told in str(error.value)


def test_more_lines_than_are_kept_count() -> None:
    watch = ReadWatch(1000)
    watch.rejected(3, 1000, [reject(3, 5)])
    with pytest.raises(TooManyRejectsError, match=r"day_1, line 9: .*\(1,001 malformed lines"):
        watch.rejected(1, 1, [reject(1, 9)])


def test_the_error_comes_from_another_process_as_it_is() -> None:
    error = TooManyRejectsError(2, reject(2, 7), 5, 4)
    same = pickle.loads(pickle.dumps(error))
    assert (same.source, same.first, same.rejected) == (2, reject(2, 7), 5)
    assert str(same) == str(error)


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ((), r"day_2, line 7: .*\(5 malformed"),
        ((1, 40, 3), r"day_1, line 40: .*\(5 malformed"),
        ((2, 6, 3), r"day_2, line 6: .*\(5 malformed"),
        ((3, 1, 4), r"day_2, line 7: .*\(5 malformed"),
        ((2, 7, 9), r"day_2, line 7: .*\(9 malformed"),
    ],
)
def test_what_a_worker_counted_is_told_with_what_the_driver_heard(
    heard: tuple[int, ...], said: str
) -> None:
    watch = ReadWatch(4)
    if heard:
        source, line, count = heard
        with suppress(TooManyRejectsError):
            watch.rejected(source, count, [reject(source, line)])
    error = watch.with_what_was_heard(TooManyRejectsError(2, reject(2, 7), 5, 4))
    with pytest.raises(TooManyRejectsError, match=said):
        raise error


def test_several_threads_are_heard() -> None:
    watch = ReadWatch(8 * 500)

    def hear(source: int) -> None:
        for line in Random(source).sample(range(1, 501), 500):
            watch.rejected(source, 1, [reject(source, line)])

    threads = [threading.Thread(target=hear, args=(source,)) for source in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(TooManyRejectsError, match=r"day_0, line 1: .*\(4,001 malformed"):
        watch.rejected(5, 1, [reject(5, 600)])


def test_the_whole_is_expected_from_all_inputs() -> None:
    stream = io.StringIO()
    with Progress("read", 300, stream=stream) as bar:
        watch = ReadWatch(0, bar, {0: 100, 1: 200})
        watch.expect(1, 249.6)
        watch.advance(50)
        watch.expect(0, 90)
        watch.expect(7, 10)
    assert stream.getvalue().startswith("read: 50 of 350 rows")


def test_nobody_need_hear() -> None:
    watch = ReadWatch(0)
    watch.advance(5)
    watch.expect(0, 7)
    watch.rejected(0, 0, [])
