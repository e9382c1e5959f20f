import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import Tensor
from torchmetrics import Metric

from criteo_stream.base.errors import RunError
from criteo_stream.metrics.figures import Evaluation
from criteo_stream.metrics.streaming import (
    AUC_BINS,
    BinaryMetrics,
    Calibration,
    LogLoss,
    NormalizedEntropy,
    StreamingAUC,
)
from tests.support.processes import on_ranks


def clicks(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels; every third logit is rounded, so that many rows tie."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1.2, 1.1, rows)
    labels = random.random(rows) < 1 / (1 + np.exp(-logits - random.normal(0, 1, rows)))
    logits[::3] = logits[::3].round(1)
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)


def figures_of(logits: Tensor, labels: Tensor, batch: int = 8192) -> Evaluation:
    metrics = BinaryMetrics()
    for x, y in zip(logits.split(batch), labels.split(batch), strict=True):
        metrics.update(x, y)
    return metrics.compute()


def test_a_million_rows_agree_with_scikit_learn() -> None:
    logits, labels = clicks(1_000_000)
    figures = figures_of(logits, labels)
    probability, label = logits.double().sigmoid().numpy(), labels.numpy()
    log_loss = sklearn_metrics.log_loss(label, probability)
    rate = label.mean(dtype=np.float64)
    expected = {
        "auc": sklearn_metrics.roc_auc_score(label, logits.numpy()),
        "log_loss": log_loss,
        "ne": log_loss / sklearn_metrics.log_loss(label, np.full(len(label), rate)),
        "calibration": probability.mean() / rate,
    }
    expected |= {"rows": 1_000_000, "positives": int(label.sum())}
    assert figures.to_dict() == pytest.approx(expected, abs=1e-6, rel=0)
    # Far better where it need not be: only the AUC has bins.
    assert figures.log_loss == pytest.approx(log_loss, rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "figure"),
    [
        (StreamingAUC(), "auc"),
        (LogLoss(), "log_loss"),
        (NormalizedEntropy(), "ne"),
        (Calibration(), "calibration"),
    ],
)
def test_each_figure_is_a_torchmetric_of_its_own(metric: Metric, figure: str) -> None:
    logits, labels = clicks(3000)
    for x, y in zip(logits.split(1000), labels.split(1000), strict=True):
        # `forward` gives the batch's figure and must not lose what came before.
        assert float(metric(x, y)) == pytest.approx(getattr(figures_of(x, y), figure), rel=1e-12)
    assert float(metric.compute()) == pytest.approx(
        getattr(figures_of(logits, labels), figure), rel=1e-12
    )
    metric.reset()
    metric.update(logits[:500], labels[:500])
    expected = getattr(figures_of(logits[:500], labels[:500]), figure)
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.booleans()), min_size=1),
    st.integers(1, 7),
)
def test_bins_are_monotone_and_ties_count_half(rows: list[tuple[float, bool]], batch: int) -> None:
    """Against the definition: P(positive above negative) + ½ P(tie), over all pairs."""
    # Fewer bits than a bin holds: two logits are then in one bin only if they are equal.
    logits = torch.tensor([x for x, _ in rows], dtype=torch.float32)
    logits = (logits.view(torch.int32) & ~0xFFF).view(torch.float32)
    labels = torch.tensor([y for _, y in rows], dtype=torch.float32)
    positive, negative = logits[labels == 1][:, None], logits[labels == 0][None, :]
    wins = (positive > negative).double() + (positive == negative).double() / 2
    auc = figures_of(logits, labels, batch).auc
    assert auc == (pytest.approx(float(wins.mean())) if wins.numel() else None)


@settings(max_examples=25)
@given(st.integers(0, 400), st.lists(st.integers(0, 400), max_size=5), st.integers(0, 1000))
def test_parts_add_up_to_the_whole(rows: int, cuts: list[int], seed: int) -> None:
    logits, labels = clicks(rows, seed)
    total = BinaryMetrics()
    for part in np.split(np.arange(rows), sorted(min(cut, rows) for cut in cuts)):
        other = BinaryMetrics()
        other.update(logits[part], labels[part])
        total.merge(other)
    whole = figures_of(logits, labels).to_dict()
    assert total.compute().to_dict() == {
        k: v and pytest.approx(v, rel=1e-12) for k, v in whole.items()
    }


def test_a_saved_state_goes_on() -> None:
    logits, labels = clicks(2000)
    first = BinaryMetrics()
    first.update(logits[:700], labels[:700])
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    second = BinaryMetrics()
    second.load_state_dict(saved)
    second.update(logits[700:], labels[700:])
    expected = figures_of(logits, labels).to_dict()
    assert second.compute().to_dict() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_equal_labels_leave_auc_and_ne_undefined(label: float) -> None:
    logits = torch.linspace(-3, 3, 100)
    figures = figures_of(logits, torch.full((100,), label))
    assert figures.auc is None
    assert figures.ne is None
    assert figures.log_loss == pytest.approx(float(torch.log1p(logits.double().exp()).mean()))
    assert (figures.calibration is None) == (label == 0)
    assert (figures.rows, figures.positives) == (100, 100 * label)


def test_without_rows_nothing_is_defined() -> None:
    empty = torch.empty(0)
    metrics = BinaryMetrics()
    metrics.update(empty, empty)
    undefined = dict.fromkeys(["auc", "log_loss", "ne", "calibration"])
    assert metrics.compute().to_dict() == undefined | {"rows": 0, "positives": 0}
    assert BinaryMetrics().compute() == metrics.compute()


def test_extreme_logits() -> None:
    logits = torch.tensor([-math.inf, -3e38, -100.0, -0.0, 0.0, 1e-30, 100.0, 3e38, math.inf])
    right = (logits > 0).float()
    figures = figures_of(logits, right)
    assert figures.log_loss == pytest.approx(3 * math.log(2) / 9)
    assert figures.auc == 1.0
    # Certain and wrong: the loss is infinite, which JSON cannot say; the AUC is not concerned.
    wrong = figures_of(logits, 1 - right)
    assert wrong.log_loss is None
    assert wrong.auc == 0.0
    assert float(LogLoss()(logits[-1:], torch.zeros(1))) == math.inf


def test_a_logit_that_is_no_number_is_refused() -> None:
    metrics = BinaryMetrics()
    with pytest.raises(RunError, match="the model gives NaN"):
        metrics.update(torch.tensor([0.5, math.nan]), torch.tensor([0.0, 1.0]))
    assert metrics.compute().rows == 0


def test_counters_pass_what_32_bits_and_float32_can_count() -> None:
    """Twice the rows of 1TB in two bins; then single rows still count."""
    metrics = BinaryMetrics()
    negatives, positives = 8_000_000_000, 300_000_000
    low, high = AUC_BINS // 4, AUC_BINS // 2 + AUC_BINS // 4
    state = metrics.state_dict()
    state["_auc.counts"][low] = negatives
    state["_auc.counts"][AUC_BINS + high] = positives
    state["_sums.rows"] += negatives + positives
    state["_sums.positives"] += positives
    metrics.load_state_dict(state)
    assert metrics.compute().auc == 1.0
    metrics.update(torch.tensor([1.0, -1.0, 2.0]), torch.tensor([0.0, 1.0, 1.0]))
    figures = metrics.compute()
    assert (figures.rows, figures.positives) == (negatives + positives + 3, positives + 2)
    assert int(metrics.state_dict()["_auc.counts"].sum()) == negatives + positives + 3


def _rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    logits, labels = clicks(2000)
    mine = slice(None, 700) if rank == 0 else slice(700, None)
    metrics = BinaryMetrics()
    metrics.update(logits[mine], labels[mine])
    assert metrics.compute() == metrics.compute(), "computing must leave the state as it was"
    torch.save(metrics.compute().to_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_give_the_figures_of_all_rows(tmp_path: Path) -> None:
    on_ranks(_rank, str(tmp_path))
    expected = figures_of(*clicks(2000)).to_dict()
    for rank in (0, 1):
        figures = torch.load(tmp_path / f"{rank}.pt")
        assert figures == pytest.approx(expected, rel=1e-12)
