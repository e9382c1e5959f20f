"""Early stopping: against the whole list of evaluations so far."""

from collections.abc import Sequence
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.records import from_plain
from criteo_stream.runs.config import Metric
from criteo_stream.runs.history import HistoryLine
from criteo_stream.train.early_stopping import EarlyStopping

FIGURES = st.lists(st.floats(0, 1) | st.sampled_from([0.25, 0.5]), max_size=30)  # ties too
METRICS = st.sampled_from(["auc", "log_loss"])


def evaluation(step: int, metric: Metric, figure: float | None) -> HistoryLine:
    figures = {"auc": None, "log_loss": None} | {metric: figure}
    return HistoryLine(
        epoch=1, step=step, rows=step, train_loss=0.5, learning_rate=0.01, ne=None,
        calibration=None, rows_per_second=1, waited_for_data=0.0, peak_memory_bytes=1, **figures,
    )  # fmt: skip


def told(stopping: EarlyStopping, figures: Sequence[float | None]) -> list[bool]:
    """Take in evaluations at steps 1, 2, …; whether each was the best."""
    start = 1 if stopping.step is None else stopping.step + stopping.waited + 1
    return [
        stopping.update(evaluation(step, stopping.metric, figure))
        for step, figure in enumerate(figures, start)
    ]


@given(METRICS, FIGURES, st.integers(0, 5))
def test_the_best_is_the_first_of_the_best(
    metric: Metric, figures: list[float], patience: int
) -> None:
    stopping = EarlyStopping(metric, patience)
    best_of = max if metric == "auc" else min
    for number, figure in enumerate(figures, start=1):
        is_best = stopping.update(evaluation(number, metric, figure))
        seen = figures[:number]
        first = seen.index(best_of(seen)) + 1
        assert stopping.step == first
        assert is_best == (first == number)
        assert stopping.best == evaluation(first, metric, best_of(seen))
        assert stopping.waited == number - first
        assert stopping.exhausted == (0 < patience <= number - first)


@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_equal_figures_are_not_better(metric: Metric) -> None:
    stopping = EarlyStopping(metric, 3)
    assert told(stopping, [0.5, 0.5, 0.5, 0.5]) == [True, False, False, False]
    assert stopping.exhausted


@given(METRICS, FIGURES, FIGURES, st.integers(0, 5))
def test_it_goes_on_where_it_was(
    metric: Metric, before: list[float], after: list[float], patience: int
) -> None:
    whole = EarlyStopping(metric, patience)
    told(whole, before)
    best = None if whole.best is None else from_plain(asdict(whole.best), HistoryLine)
    continued = EarlyStopping(metric, patience, best, whole.waited)
    assert told(whole, after) == told(continued, after)
    assert whole == continued


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_loss_and_a_larger_auc_are_better(one: float, other: float) -> None:
    for metric, better in (("auc", other > one), ("log_loss", other < one)):
        stopping = EarlyStopping(metric, 1)  # type: ignore[arg-type]
        assert told(stopping, [one, other]) == [True, better]
        assert stopping.exhausted != better


@given(METRICS, st.integers(1, 20))
def test_undefined_figures_keep_the_latest_and_use_up_no_patience(
    metric: Metric, number: int
) -> None:
    stopping = EarlyStopping(metric, 1)
    assert told(stopping, [None] * number) == [True] * number
    assert (stopping.step, stopping.waited, stopping.exhausted) == (number, 0, False)
    assert told(stopping, [0.5])  # any figure is better than none
    assert stopping.best == evaluation(number + 1, metric, 0.5)


@given(METRICS, st.lists(st.none() | st.floats(0, 1), max_size=20))
def test_an_undefined_figure_never_takes_the_place_of_one(
    metric: Metric, figures: list[float | None]
) -> None:
    stopping = EarlyStopping(metric, 1)
    for number, figure in enumerate(figures, start=1):
        stopping.update(evaluation(number, metric, figure))
        seen = [f for f in figures[:number] if f is not None]
        best = (max if metric == "auc" else min)(seen) if seen else None
        first = figures.index(best) + 1 if seen else number
        assert stopping.best == evaluation(first, metric, best)
        assert stopping.waited == number - first


def test_only_its_own_metric_counts() -> None:
    stopping = EarlyStopping("log_loss", 1)
    other = asdict(evaluation(1, "log_loss", 0.5))
    assert stopping.update(HistoryLine(**other | {"auc": 0.1}))
    assert not stopping.update(HistoryLine(**other | {"auc": 0.9, "step": 2}))


@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_nothing_seen_yet(metric: Metric) -> None:
    stopping = EarlyStopping(metric, 1)
    assert stopping.step is None
    assert not stopping.exhausted
