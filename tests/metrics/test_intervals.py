"""Intervals against their definitions, against resampling, and by how often they are right."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from criteo_stream.metrics.auc import area_interval
from criteo_stream.metrics.compare import PairedDifference
from criteo_stream.metrics.intervals import Interval, mean_interval, share_interval
from criteo_stream.metrics.streaming import BinaryMetrics

Z = 1.959963984540054
Floats = NDArray[np.float64]


def pair_of_models(rows: int, seed: int, quality: float = 1.0) -> tuple[list[Floats], NDArray]:
    """Logits of two models that see the same signal with noise of their own, and labels; ties."""
    random = np.random.default_rng(seed)
    signal = random.normal(-1, quality, rows)
    labels = random.random(rows) < 1 / (1 + np.exp(-signal))
    logits = [
        (signal + random.normal(0, noise, rows)).round(1).astype(np.float32) for noise in (0.5, 0.8)
    ]
    return logits, labels


def measured(logits: Floats, labels: NDArray) -> BinaryMetrics:
    metrics = BinaryMetrics()
    for x, y in zip(torch.tensor(logits).split(97), torch.tensor(labels).split(97), strict=True):
        metrics.update(x, y.float())
    return metrics


def delong_interval(logits: Floats, labels: NDArray) -> Interval | None:
    scores = measured(logits, labels).distinct_scores()
    return area_interval(scores.negatives, scores.positives)


def paired(logits: list[Floats], labels: NDArray) -> PairedDifference:
    difference = PairedDifference([measured(x, labels).distinct_scores() for x in logits])
    for part in np.array_split(np.arange(len(labels)), 5):
        difference.update([torch.tensor(x[part]) for x in logits], torch.tensor(labels[part]))
    return difference


def wins(logits: Floats, labels: NDArray) -> Floats:
    """[positives, negatives]: 1 where the positive is above, ½ where they tie."""
    positive, negative = logits[labels][:, None], logits[~labels][None, :]
    return (positive > negative) + (positive == negative) / 2


def naive_interval(psi: Floats) -> Interval:
    """DeLong's interval by definition: the structural components from all pairs of rows."""
    variance = sum(np.var(psi.mean(axis), ddof=1) / psi.shape[1 - axis] for axis in (0, 1))
    half = Z * math.sqrt(variance)
    return psi.mean() - half, psi.mean() + half


@pytest.mark.parametrize("seed", range(3))
def test_the_auc_s_interval_is_delong_s_over_all_pairs(seed: int) -> None:
    (logits, _), labels = pair_of_models(500, seed)
    assert delong_interval(logits, labels) == pytest.approx(naive_interval(wins(logits, labels)))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=30))
def test_small_sets_and_ties(rows: list[tuple[int, bool]]) -> None:
    logits = np.array([x for x, _ in rows], np.float32)
    labels = np.array([y for _, y in rows])
    interval = delong_interval(logits, labels)
    if min(labels.sum(), (~labels).sum()) < 2:
        assert interval is None
    else:
        expected = np.clip(naive_interval(wins(logits, labels)), 0, 1)
        assert interval == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_paired_differences_are_those_of_the_definition(seed: int) -> None:
    logits, labels = pair_of_models(500, seed)
    figures = paired(logits, labels).difference()
    psi = wins(logits[0], labels) - wins(logits[1], labels)
    assert figures.auc == pytest.approx(psi.mean())
    assert figures.auc_interval == pytest.approx(naive_interval(psi))
    losses = [np.logaddexp(0, np.where(labels, -1, 1) * x.astype(float)) for x in logits]
    d = losses[0] - losses[1]
    half = Z * d.std(ddof=1) / math.sqrt(len(d))
    assert figures.log_loss == pytest.approx(d.mean())
    assert figures.log_loss_interval == pytest.approx((d.mean() - half, d.mean() + half))


def test_a_model_does_not_differ_from_itself() -> None:
    (logits, _), labels = pair_of_models(300, 0)
    assert paired([logits, logits], labels).difference().to_dict() == {
        "auc": 0, "auc_interval": (0, 0), "log_loss": 0, "log_loss_interval": (0, 0),
    }  # fmt: skip


def test_what_cannot_be_compared_is_none() -> None:
    figures = paired([np.zeros(3, np.float32)] * 2, np.zeros(3, bool)).difference()
    assert figures.auc is figures.auc_interval is None
    assert figures.log_loss == 0
    certain_and_wrong = np.array([math.inf, 0, 0], np.float32)
    figures = paired([certain_and_wrong, np.zeros(3, np.float32)], np.zeros(3, bool)).difference()
    assert figures.log_loss is figures.log_loss_interval is None


def test_bootstrap_gives_the_same_widths() -> None:
    logits, labels = pair_of_models(2000, 1)
    random = np.random.default_rng(0)
    resampled = [random.integers(0, len(labels), len(labels)) for _ in range(400)]
    auc = sklearn_metrics.roc_auc_score
    aucs = np.array([[auc(labels[i], x[i]) for x in logits] for i in resampled])
    low, high = delong_interval(logits[0], labels) or (0, 0)
    assert (high - low) / 2 / Z == pytest.approx(aucs[:, 0].std(), rel=0.12)
    low, high = paired(logits, labels).difference().auc_interval or (0, 0)
    assert (high - low) / 2 / Z == pytest.approx((aucs[:, 0] - aucs[:, 1]).std(), rel=0.12)
    losses = np.logaddexp(0, np.where(labels, -1, 1) * logits[0].astype(float))
    means = [losses[i].mean() for i in resampled]
    low, high = measured(logits[0], labels).log_loss_interval() or (0, 0)
    assert (high - low) / 2 / Z == pytest.approx(np.std(means), rel=0.12)


@pytest.mark.slow
def test_95_of_100_intervals_hold_the_truth() -> None:
    big, big_labels = pair_of_models(400_000, 10_000)
    auc = [sklearn_metrics.roc_auc_score(big_labels, x) for x in big]
    loss = [sklearn_metrics.log_loss(big_labels, 1 / (1 + np.exp(-x.astype(float)))) for x in big]
    hits = np.zeros(4)
    for seed in range(300):
        logits, labels = pair_of_models(300, seed)
        difference = paired(logits, labels).difference()
        for number, (truth, interval) in enumerate(
            [
                (auc[0], delong_interval(logits[0], labels)),
                (loss[0], measured(logits[0], labels).log_loss_interval()),
                (auc[0] - auc[1], difference.auc_interval),
                (loss[0] - loss[1], difference.log_loss_interval),
            ]
        ):
            low, high = interval or (0, 0)
            hits[number] += low <= truth <= high
    # Three standard errors of a share of 300 are .038.
    assert (np.abs(hits / 300 - 0.95) < 0.04).all(), hits / 300


@pytest.mark.parametrize(("hits", "rows"), [(0, 20), (1, 20), (20, 20), (263, 1000)])
def test_shares_have_wilson_s_interval(hits: int, rows: int) -> None:
    """Its ends are the shares p whose own standard error puts hits / rows at 1.96 of it."""
    low, high = share_interval(hits, rows) or (0, 0)
    assert 0 <= low <= hits / rows <= high <= 1
    for end in {low, high} - {0.0, 1.0}:
        assert abs(hits / rows - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / rows))


def test_without_rows_there_is_no_interval() -> None:
    assert share_interval(0, 0) is None
    assert mean_interval(0.5, 0.25, 1) is None
    assert mean_interval(math.inf, math.inf, 10) is None
    assert BinaryMetrics().log_loss_interval() is None
