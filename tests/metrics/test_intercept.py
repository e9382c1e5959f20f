"""The number that makes as many clicks predicted as came, and the figures with it."""

import numpy as np
import pytest
import torch

from criteo_stream.metrics.intercept import intercept, moved
from criteo_stream.metrics.scores import ScoreCounts
from criteo_stream.metrics.streaming import BinaryMetrics


def metrics_of(
    logits: torch.Tensor, labels: torch.Tensor, exact_rows: int = 10**6
) -> BinaryMetrics:
    metrics = BinaryMetrics(exact_rows=exact_rows)
    metrics.update(logits, labels)
    return metrics


@pytest.mark.parametrize("off_by", [-4.0, -0.3, 0.0, 0.02, 6.0])
@pytest.mark.parametrize("exact_rows", [10**6, 100])
def test_figures_are_those_of_logits_that_it_was_added_to(off_by: float, exact_rows: int) -> None:
    random = torch.Generator().manual_seed(1)
    truth = torch.randn(20_000, generator=random) * 1.5 - 1
    labels = (torch.rand(20_000, generator=random) < truth.sigmoid()).float()
    metrics = metrics_of(truth + off_by, labels, exact_rows)
    by = intercept(metrics.scores())
    assert by == pytest.approx(-off_by, abs=0.1)
    found = moved(metrics.compute(), metrics.scores(), by)
    expected = metrics_of(truth + off_by + by, labels).compute()
    assert found.calibration == pytest.approx(1, abs=2e-4)
    for name in ("auc", "log_loss", "ne", "calibration"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=2e-4)
    assert (found.rows, found.positives) == (expected.rows, expected.positives)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_of_one_kind_ask_for_no_number(label: float) -> None:
    metrics = metrics_of(torch.tensor([-1.0, 0.5]), torch.full((2,), label))
    assert intercept(metrics.scores()) == 0
    none = np.empty(0, np.int64)
    assert intercept(ScoreCounts(logits=np.empty(0), negatives=none, positives=none)) == 0


def test_infinite_logits_that_were_right_stay_as_they_are() -> None:
    infinite = torch.tensor([-torch.inf, torch.inf, -1.0, -1.0])
    metrics = metrics_of(infinite, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    by = intercept(metrics.scores())
    assert by == pytest.approx(1, abs=1e-3)
    assert moved(metrics.compute(), metrics.scores(), by).calibration == pytest.approx(1, abs=1e-3)
    metrics = metrics_of(infinite[:2], torch.tensor([0.0, 1.0]))
    assert intercept(metrics.scores()) == 0
    metrics = metrics_of(infinite[:2], torch.tensor([1.0, 0.0]))
    assert intercept(metrics.scores()) == 0
    assert moved(metrics.compute(), metrics.scores(), 1.0) == metrics.compute()
