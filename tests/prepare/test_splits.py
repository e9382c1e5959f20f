import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.prepare.splits import (
    TEST,
    TRAIN,
    VALID,
    WHOLLY_TEST,
    WHOLLY_TRAIN,
    WHOLLY_VALID,
    HashedSplit,
    last_day_split,
    tail_splits,
    written_order,
)


def hashed(
    seed: int = 0, name: str = "train.txt", valid: float = 0.1, test: float = 0.1
) -> HashedSplit:
    return HashedSplit(seed=seed, name=name, valid=valid, test=test)


LINES = np.arange(1, 200_001)


@pytest.mark.parametrize(("valid", "test"), [(0.1, 0.1), (0.02, 0.3), (0.0, 0.5), (0.25, 0.0)])
def test_fractions_hold_within_four_sigma(valid: float, test: float) -> None:
    codes = hashed(valid=valid, test=test).codes(LINES)
    for code, share in ((TRAIN, 1 - valid - test), (VALID, valid), (TEST, test)):
        sigma = np.sqrt(len(LINES) * share * (1 - share))
        assert abs(np.count_nonzero(codes == code) - len(LINES) * share) <= 4 * sigma


def test_neighbouring_lines_are_independent() -> None:
    is_test = hashed(valid=0, test=0.5).codes(LINES) == TEST
    for lag in (1, 2, 64, 4096):
        agree = np.mean(is_test[lag:] == is_test[:-lag])
        assert abs(agree - 0.5) < 4 * 0.5 / np.sqrt(len(LINES))


@given(first=st.integers(1, 2**40), cut=st.integers(0, 100), seed=st.integers(0, 2**63))
def test_a_line_keeps_its_split_whatever_is_read_with_it(first: int, cut: int, seed: int) -> None:
    lines = np.arange(first, first + 100)
    split = hashed(seed=seed)
    together = split.codes(lines)
    parts = [split.codes(lines[:cut]), split.codes(lines[cut:])]
    np.testing.assert_array_equal(together, np.concatenate(parts))


def test_seed_and_name_change_the_split_and_nothing_else_does() -> None:
    codes = hashed().codes(LINES)
    np.testing.assert_array_equal(codes, hashed().codes(LINES))
    for other in (hashed(seed=1), hashed(name="train2.txt")):
        assert 0.3 < np.mean((other.codes(LINES) == TEST)[codes == TEST]) * 10 < 3


def test_the_split_is_the_published_one() -> None:
    """A change here would move rows between the splits of every set made before."""
    codes = hashed(seed=7, name="day_3").codes(np.arange(1, 41))
    assert "".join(map(str, codes)) == "0011100000001000002000102010000000000000"
    order = written_order(codes, seed=7, name="day_3", block=2, keep_order=False)
    assert order[:6].tolist() == [19, 11, 20, 8, 15, 35]


def test_more_test_rows_leave_the_test_rows_in_place() -> None:
    few, many = hashed(test=0.1).codes(LINES), hashed(test=0.2).codes(LINES)
    assert np.all(many[few == TEST] == TEST)


def test_whole_files() -> None:
    for split, code in ((WHOLLY_TRAIN, TRAIN), (WHOLLY_VALID, VALID), (WHOLLY_TEST, TEST)):
        assert np.all(split.codes(np.array([1, 2**40])) == code)


@given(
    lines=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    valid=st.floats(0, 0.49),
    test=st.floats(0, 0.49),
)
def test_tail_is_the_end_of_all_inputs_in_time_order(
    lines: list[int], valid: float, test: float
) -> None:
    splits = tail_splits(lines, valid, test)
    codes = np.concatenate(
        [split.codes(np.arange(1, n + 1)) for split, n in zip(splits, lines, strict=True)]
    )
    total = sum(lines)
    counts = [int(total - int(valid * total) - int(test * total)), int(valid * total)]
    expected = np.repeat([TRAIN, VALID, TEST], [*counts, int(test * total)])
    np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize(("lines", "valid"), [(1, 0), (2, 1), (7, 3), (178_274_637, 89_137_318)])
def test_last_day_gives_its_first_half_to_valid(lines: int, valid: int) -> None:
    split = last_day_split(lines)
    around = np.array([n for n in (1, valid, valid + 1, lines) if 1 <= n <= lines])
    np.testing.assert_array_equal(split.codes(around), np.where(around <= valid, VALID, TEST))


@given(
    codes=st.lists(st.integers(0, 2), max_size=60).map(lambda c: np.array(c, np.uint8)),
    seed=st.integers(0, 9),
    keep_order=st.booleans(),
)
def test_written_order_is_a_permutation_grouped_by_split(
    codes: np.ndarray, seed: int, keep_order: bool
) -> None:
    order = written_order(codes, seed=seed, name="a", block=1, keep_order=keep_order)
    assert sorted(order) == list(range(len(codes)))
    assert np.all(np.diff(codes[order].astype(int)) >= 0)
    if keep_order:
        for code in (TRAIN, VALID, TEST):
            assert np.all(np.diff(order[codes[order] == code]) > 0)


def test_written_order_is_random_and_depends_on_seed_name_and_block() -> None:
    codes = np.zeros(100_000, np.uint8)
    order = written_order(codes, seed=0, name="a", block=0, keep_order=False)
    # The mean place of the first tenth of the rows: sigma is that of a mean of uniform draws.
    places = np.empty(len(order))
    places[order] = np.arange(len(order)) / len(order)
    assert abs(places[:10_000].mean() - 0.5) < 4 / np.sqrt(12 * 10_000)
    for other in ({"seed": 1}, {"name": "b"}, {"block": 1}):
        kwargs = {"seed": 0, "name": "a", "block": 0, "keep_order": False} | other
        assert np.mean(written_order(codes, **kwargs) == order) < 0.01
