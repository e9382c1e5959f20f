"""The area from counts, against scikit-learn and the definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from criteo_stream.metrics.auc import area, placements

COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20)


def columns(counts: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    negatives, positives = np.array(counts, np.int64).T
    return negatives, positives


@given(COUNTS)
def test_the_area_is_that_of_the_rows_counted(counts: list[tuple[int, int]]) -> None:
    negatives, positives = columns(counts)
    scores = np.arange(len(counts))
    rows = np.concatenate([scores.repeat(negatives), scores.repeat(positives)])
    labels = np.arange(len(rows)) >= negatives.sum()
    found = area(negatives, positives)
    if not negatives.sum() or not positives.sum():
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(labels, rows), abs=1e-12, rel=0)


@given(COUNTS)
def test_the_area_is_the_mean_placement_of_either_kind(counts: list[tuple[int, int]]) -> None:
    negatives, positives = columns(counts)
    expected = area(negatives, positives)
    if expected is not None:
        for values, rows in zip(
            placements(negatives, positives), (positives, negatives), strict=True
        ):
            assert float(values @ rows) / rows.sum() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("negatives", "positives", "expected"),
    [
        ([3, 0], [0, 5], 1.0),
        ([0, 3], [5, 0], 0.0),
        ([3], [5], 0.5),
        ([0], [5], None),
        ([], [], None),
    ],
)
def test_ends_are_exact(negatives: list[int], positives: list[int], expected: float | None) -> None:
    assert area(np.array(negatives, np.int64), np.array(positives, np.int64)) == expected


def test_more_pairs_than_an_integer_counts() -> None:
    """A trillion rows: their pairs pass 2^63."""
    many = np.array([10**12, 10**12], np.int64)
    found = area(many, many[::-1] * 3)
    assert found is not None
    assert math.isclose(found, 0.5, rel_tol=1e-12)
