"""Rows from the highest score down, against scikit-learn and against a plain count."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from criteo_stream.metrics.ranked import Ranked, ranked
from criteo_stream.metrics.score_counter import logit_bins
from tests.metrics.test_scores import counted
from tests.metrics.test_streaming import clicks


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Scores in bins, as they are counted, and labels."""
    logits, labels = clicks(20_000)
    return logit_bins(logits).double().numpy(), labels.numpy()


@pytest.fixture(scope="module")
def curve() -> Ranked:
    return ranked(counted(*clicks(20_000)), 200)


def test_points_of_the_roc_curve_are_on_it(
    curve: Ranked, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = curve.false_positive_rate, curve.recall
    assert 100 < len(x) <= 205
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    bins, labels = rows
    expected = sklearn_metrics.roc_curve(labels, bins, drop_intermediate=False)
    exact = set(zip(expected[0].round(12), expected[1].round(12), strict=True))
    assert set(zip(x.round(12), y.round(12), strict=True)) <= exact
    area = float(np.trapezoid(y, x))
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(labels, bins), abs=1e-4)
    youden = (expected[1] - expected[0]).max()
    assert y[curve.best_youden] - x[curve.best_youden] == pytest.approx(youden)


def test_precision_and_recall_are_those_of_scikit_learn(
    curve: Ranked, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    bins, labels = rows
    precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, bins)
    exact = set(zip(recall.round(12), precision.round(12), strict=True))
    found = zip(curve.recall[1:].round(12), curve.precision[1:].round(12), strict=True)
    assert set(found) <= exact
    f1 = (2 * precision * recall / np.maximum(1e-12, precision + recall)).max()
    best = curve.best_f1
    product = curve.precision[best] * curve.recall[best]
    assert 2 * product / (curve.precision[best] + curve.recall[best]) == pytest.approx(f1)


def test_gains_and_lift_are_those_of_the_rows_taken(
    curve: Ranked, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    bins, labels = rows
    falling = labels[np.argsort(-bins, kind="stable")]
    for place in (1, len(curve.rows) // 2, -1):
        taken = falling[: curve.rows[place]]
        assert curve.recall[place] == pytest.approx(taken.sum() / labels.sum())
        assert curve.share[place] == pytest.approx(len(taken) / len(labels))
        assert curve.lift[place] == pytest.approx(taken.mean() / labels.mean())
    assert curve.lift[-1] == 1
    assert (np.diff(curve.probability) <= 0).all()


@pytest.mark.parametrize("labels", [[], [0.0] * 3, [1.0] * 3])
def test_rows_of_one_kind_and_no_rows_have_curves(labels: list[float]) -> None:
    curve = ranked(counted(torch.arange(float(len(labels))), torch.tensor(labels)))
    for values in (curve.recall, curve.false_positive_rate, curve.precision, curve.lift):
        assert np.isfinite(values).all()
        assert len(values) == len(curve.rows)
