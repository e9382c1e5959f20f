from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.prepare.codes import code_type, encode_values
from criteo_stream.prepare.counts import (
    Run,
    SpilledRun,
    from_sortable,
    merge,
    merge_in_parts,
    sortable,
)
from criteo_stream.prepare.multiplicative_hash import MULTIPLIER

VALUES = st.integers(0, 2**32 - 1) | st.integers(0, 20) | st.integers(2**32 - 20, 2**32 - 1)


def run_of(counts: dict[int, int]) -> Run:
    items = sorted(counts.items())
    return Run(
        np.array([v for v, _ in items], np.uint32), np.array([c for _, c in items], np.uint32)
    )


def spilled(runs: list[Run]) -> list[SpilledRun]:
    return [SpilledRun(len(run.values), lambda run=run: run) for run in runs]


def as_dict(values: np.ndarray, counts: np.ndarray) -> dict[int, int]:
    assert values.dtype == np.uint32
    assert counts.dtype == np.int64
    assert np.all(np.diff(values.astype(np.int64)) > 0)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


RUNS = st.lists(st.dictionaries(VALUES, st.integers(0, 2**32 - 1), max_size=30), max_size=6)


@given(RUNS)
def test_merge_adds_up(dicts: list[dict[int, int]]) -> None:
    total: Counter[int] = Counter()
    for counts in dicts:
        total.update(counts)
    runs = [run_of(d) for d in dicts] or [run_of({})]
    assert as_dict(*merge(runs)) == {v: c for v, c in total.items() if c}


@given(RUNS, st.integers(1, 100))
def test_merging_in_parts_gives_the_same_whatever_their_size(
    dicts: list[dict[int, int]], max_entries: int
) -> None:
    runs = [run_of(d) for d in dicts] or [run_of({})]
    parts = list(merge_in_parts(spilled(runs), max_entries))
    values = np.concatenate([p[0] for p in parts])
    counts = np.concatenate([p[1] for p in parts])
    assert as_dict(values, counts) == as_dict(*merge(runs))


@given(RUNS, st.randoms())
def test_runs_add_up_in_any_order(dicts: list[dict[int, int]], random: object) -> None:
    runs = [run_of(d) for d in dicts] or [run_of({})]
    shuffled = runs.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert as_dict(*merge(shuffled)) == as_dict(*merge(runs))


def test_counts_beyond_32_bits_do_not_wrap() -> None:
    near = 2**32 - 1
    runs = [run_of({7: near, 2**32 - 1: near})] * 3
    assert as_dict(*merge(runs)) == {7: 3 * near, 2**32 - 1: 3 * near}
    parts = list(merge_in_parts(spilled(runs), 2))
    assert sum(int(counts.sum()) for _, counts in parts) == 6 * near


def test_parts_hold_what_the_budget_allows_even_of_skewed_values() -> None:
    random = np.random.default_rng(0)
    runs = []
    for i in range(20):
        low = random.integers(0, 5000, 3000)
        high = random.integers(0, 2**32, 3000) if i % 2 else low
        values = np.unique(np.concatenate([low, high])).astype(np.uint32)
        runs.append(Run(values, np.ones(len(values), np.uint32)))
    entries = []
    limit = 4000
    for values, _ in merge_in_parts(spilled(runs), limit):
        bounds = int(values[0]), int(values[-1]) + 1
        entries.append(sum(len(run.between(*bounds).values) for run in runs))
    assert len(entries) > 10
    assert max(entries) <= limit


@given(st.lists(VALUES, max_size=200))
def test_codes_point_into_the_sorted_distinct_values(values: list[int]) -> None:
    array = np.array(values, np.uint32)
    distinct, codes = encode_values(array)
    assert distinct.tolist() == sorted(set(values))
    assert codes.dtype == code_type(len(distinct))
    np.testing.assert_array_equal(distinct[codes.astype(int) - 1], array)


def shared_slots(count: int) -> np.ndarray:
    """Values whose multiplicative hashes agree in all their upper bits."""
    inverse = pow(MULTIPLIER, -1, 2**32)
    return (np.arange(count, dtype=np.uint64) * np.uint64(inverse)).astype(np.uint32)


ADVERSARIAL = {
    "sequential": np.arange(2**31, 2**31 + 70_000).astype(np.uint32),
    "spread": (np.arange(70_000, dtype=np.uint64) * 61_356).astype(np.uint32),
    "extremes": np.array([0, 2**32 - 1, 0, 1, 2**32 - 1], np.uint32),
    "one": np.full(1000, 5, np.uint32),
    "one slot": shared_slots(3000),
    "random": np.random.default_rng(0).integers(0, 2**32, 300_000, dtype=np.uint32),
    "255": np.arange(255, dtype=np.uint32),
    "256": np.arange(256, dtype=np.uint32) << np.uint32(20),
    "65535": np.arange(65_535, dtype=np.uint32),
    "65536": np.arange(65_536, dtype=np.uint32) << np.uint32(15),
}


@pytest.mark.parametrize("case", ADVERSARIAL)
def test_codes_are_right_for_values_chosen_against_the_hash(case: str) -> None:
    values = np.random.default_rng(1).permutation(np.tile(ADVERSARIAL[case], 2))
    distinct, codes = encode_values(values)
    expected, inverse = np.unique(values, return_inverse=True)
    np.testing.assert_array_equal(distinct, expected)
    np.testing.assert_array_equal(codes, inverse + 1)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1))
def test_sortable_keeps_the_order_of_integers(values: list[int]) -> None:
    array = np.array(values, np.int32)
    np.testing.assert_array_equal(from_sortable(sortable(array)), array)
    np.testing.assert_array_equal(from_sortable(np.sort(sortable(array))), np.sort(array))
