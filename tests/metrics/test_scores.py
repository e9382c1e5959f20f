"""Calibration and histogram from counts, against the rows themselves."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from criteo_stream.metrics.intervals import share_interval
from criteo_stream.metrics.plots import plot_scores
from criteo_stream.metrics.score_counter import SCORE_BINS, bin_logits, logit_bins
from criteo_stream.metrics.scores import ScoreCounts
from criteo_stream.metrics.streaming import BinaryMetrics
from tests.metrics.test_streaming import clicks


def counted(logits: torch.Tensor, labels: torch.Tensor) -> ScoreCounts:
    metrics = BinaryMetrics()
    metrics.update(logits, labels)
    return metrics.scores()


def test_the_middle_of_a_bin_is_in_it_and_near_its_logits() -> None:
    bins = torch.arange(logit_bins(torch.tensor(-3e38)).item(), SCORE_BINS * 255 // 256)
    assert torch.equal(logit_bins(bin_logits(bins)), bins)
    x = torch.cat([torch.randn(10_000) * 4, torch.tensor([1e-20, -1e20, math.inf])])
    middle = bin_logits(logit_bins(x))
    assert middle[-1] == math.inf
    assert ((middle - x).abs() <= x.abs() * 2**-12)[:-1].all()


def test_the_calibration_curve_says_what_the_rows_say() -> None:
    logits, labels = clicks(50_000)
    table = counted(logits, labels).calibration_curve()
    assert len(table) == 20
    assert sum(part.rows for part in table) == 50_000
    assert sum(part.positives for part in table) == labels.sum()
    order, begin = torch.argsort(logits), 0
    for part in table:
        # Parts are of like size, but for equal scores, which stay together.
        assert part.rows == pytest.approx(2500, abs=1400)
        rows = order[begin : begin + part.rows]
        begin += part.rows
        predicted = logits[rows].double().sigmoid().mean()
        assert part.predicted == pytest.approx(float(predicted), rel=2e-4)
        assert part.click_rate == part.positives / part.rows
        assert part.click_rate_interval == share_interval(part.positives, part.rows)
    assert table == sorted(table, key=lambda part: part.predicted)


def test_curves_are_the_same_however_rows_are_counted() -> None:
    logits, labels = clicks(5000)
    found = []
    for exact_rows in (5000, 4999):
        metrics = BinaryMetrics(exact_rows=exact_rows)
        metrics.update(logits, labels)
        found.append(metrics.scores())
    exact, binned = found
    for name in ("logits", "negatives", "positives"):
        assert np.array_equal(getattr(exact, name), getattr(binned, name))


def test_the_calibration_curve_of_few_scores() -> None:
    table = counted(
        torch.tensor([0.0] * 9 + [2.0]), torch.tensor([1.0, 0.0] * 5)
    ).calibration_curve()
    assert [(part.rows, part.positives) for part in table] == [(9, 5), (1, 0)]
    assert [part.predicted for part in table] == pytest.approx([0.5, 0.8808], abs=1e-4)
    assert counted(torch.empty(0), torch.empty(0)).calibration_curve() == []


def test_the_histogram_counts_every_row() -> None:
    logits, labels = clicks(20_000)
    negatives, positives = counted(logits, labels).histogram(20)
    probability = logits.sigmoid().numpy()
    for counts, label in ((negatives, 0), (positives, 1)):
        expected, _ = np.histogram(probability[labels.numpy() == label], 20, (0, 1))
        assert np.abs(counts - expected).max() <= 5  # bins across an edge
        assert counts.sum() == expected.sum()
    half, _ = counted(logits, labels).histogram(10, top=0.5)
    assert np.array_equal(half[:-1], negatives[:9])
    assert half[-1] == negatives[9:].sum()
    negatives, _ = counted(torch.tensor([math.inf, -math.inf]), torch.zeros(2)).histogram()
    assert negatives[0] == negatives[-1] == 1


def test_pictures_of_the_scores(tmp_path: Path) -> None:
    paths = plot_scores(counted(*clicks(5000)), "valid", tmp_path / "plots")
    assert [path.name for path in paths] == ["calibration-valid.png", "roc-valid.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
