import gc
import math
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from criteo_stream.base.errors import RunError
from criteo_stream.base.ranks import Ranks
from criteo_stream.metrics.figures import Evaluation
from criteo_stream.metrics.score_counter import EXACT_ROWS
from criteo_stream.metrics.streaming import BinaryMetrics
from tests.support.processes import on_ranks


def clicks(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels; every third logit is rounded, so that many rows tie."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1.2, 1.1, rows)
    labels = random.random(rows) < 1 / (1 + np.exp(-logits - random.normal(0, 1, rows)))
    logits[::3] = logits[::3].round(1)
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)


def figures_of(
    logits: Tensor, labels: Tensor, batch: int = 8192, *, exact_rows: int = EXACT_ROWS
) -> Evaluation:
    metrics = BinaryMetrics(exact_rows=exact_rows)
    for x, y in zip(logits.split(batch), labels.split(batch), strict=True):
        metrics.update(x, y)
    return metrics.compute()


@pytest.mark.parametrize(("more_rows", "off"), [(0, 1e-12), (1, 1e-6)])
def test_a_million_rows_agree_with_scikit_learn(more_rows: int, off: float) -> None:
    logits, labels = clicks(EXACT_ROWS + more_rows)
    figures = figures_of(logits, labels)
    probability, label = logits.double().sigmoid().numpy(), labels.numpy()
    log_loss = sklearn_metrics.log_loss(label, probability)
    rate = label.mean(dtype=np.float64)
    expected = {
        "log_loss": log_loss,
        "ne": log_loss / sklearn_metrics.log_loss(label, np.full(len(label), rate)),
        "calibration": probability.mean() / rate,
        "rows": len(label),
        "positives": int(label.sum()),
    }
    found = figures.to_dict()
    auc = sklearn_metrics.roc_auc_score(label, logits.numpy())
    assert found.pop("auc") == pytest.approx(auc, abs=off, rel=0)
    assert found == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60)
@given(
    rows=st.one_of(st.integers(1, 100), st.integers(1, 20_000)),
    decimals=st.one_of(st.none(), st.integers(-1, 4)),
    scale=st.sampled_from([0.0, 1e-30, 1e-5, 1.0, 1e30]),
    click_rate=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    batch=st.integers(1, 20_000),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_auc_is_scikit_learn_s(
    rows: int, decimals: int | None, scale: float, click_rate: float, batch: int, seed: int
) -> None:
    """Few rows and many, ties by rounding, constant scores, labels of one kind."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, rows) * scale
    logits = (logits if decimals is None else logits.round(decimals)).astype(np.float32)
    labels = random.random(rows) < click_rate
    auc = figures_of(
        torch.tensor(logits), torch.tensor(labels, dtype=torch.float32), max(batch, rows // 50)
    ).auc
    if labels.all() or not labels.any():
        assert auc is None
    else:
        expected = sklearn_metrics.roc_auc_score(labels, logits)
        assert auc == pytest.approx(expected, abs=1e-12, rel=0)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.booleans()), min_size=1),
    st.integers(1, 7),
    st.sampled_from([EXACT_ROWS, 3, 0]),
)
def test_scores_are_monotone_and_ties_count_half(
    rows: list[tuple[float, bool]], batch: int, exact_rows: int
) -> None:
    """Against the definition: P(positive above negative) + ½ P(tie), over all pairs."""
    logits = torch.tensor([x for x, _ in rows], dtype=torch.float32)
    if len(rows) > exact_rows:
        # Fewer bits than a bin holds: two logits are then in one bin only if they are equal.
        logits = (logits.view(torch.int32) & ~0xFFF).view(torch.float32)
    labels = torch.tensor([y for _, y in rows], dtype=torch.float32)
    positive, negative = logits[labels == 1][:, None], logits[labels == 0][None, :]
    wins = (positive > negative).double() + (positive == negative).double() / 2
    auc = figures_of(logits, labels, batch, exact_rows=exact_rows).auc
    assert auc == (pytest.approx(float(wins.mean())) if wins.numel() else None)


@settings(max_examples=25)
@given(st.integers(0, 400), st.integers(0, 1000), st.integers(1, 400), st.integers(0, 400))
def test_batches_add_up_to_the_whole(rows: int, seed: int, batch: int, exact_rows: int) -> None:
    logits, labels = clicks(rows, seed)
    whole = figures_of(logits, labels, rows + 1, exact_rows=exact_rows).to_dict()
    found = figures_of(logits, labels, batch, exact_rows=exact_rows).to_dict()
    assert found.pop("auc") == whole.pop("auc")
    assert found == {k: v and pytest.approx(v, rel=1e-12) for k, v in whole.items()}


def test_metrics_are_freed_without_the_garbage_collector() -> None:
    """It runs seldom: until then, every evaluation of a run would keep its tables."""
    gc.disable()
    try:
        metrics = BinaryMetrics(exact_rows=10)
        metrics.update(*clicks(100))
        metrics.compute_detailed(metrics.scores())
        alive = weakref.ref(metrics)
        del metrics
        assert alive() is None
    finally:
        gc.enable()


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


def test_a_logit_that_is_no_number_is_refused() -> None:
    metrics = BinaryMetrics()
    with pytest.raises(RunError, match="the model gives NaN"):
        metrics.update(torch.tensor([0.5, math.nan]), torch.tensor([0.0, 1.0]))
    assert metrics.compute().rows == 0


class _Alike(Ranks):
    """2^31 ranks with the same rows each."""

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        return [[2**31 * value for value in values]]

    def sum(self, mine: Tensor) -> Tensor:
        return 2**31 * mine


def test_counters_pass_what_32_bits_and_float32_can_count() -> None:
    """Twice the rows of 1TB; then every row still counts."""
    metrics = BinaryMetrics(_Alike(0, 2**31, 0, 1, torch.device("cpu")))
    metrics.update(torch.tensor([-1.0, -1.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 0.0, 1.0]))
    figures, scores = metrics.compute(), metrics.scores()
    assert (figures.auc, figures.rows, figures.positives) == (0.625, 2**33, 2**32)
    assert scores.negatives.tolist() == [2**31, 2**31, 0]
    assert scores.positives.tolist() == [2**31, 0, 2**31]


def _rank(rank: int, folder: str, exact_rows: int) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=3
    )
    logits, labels = clicks(2000)
    mine = (slice(0, 0), slice(None, 700), slice(700, None))[rank]
    metrics = BinaryMetrics(Ranks(rank, 3, rank, 3, torch.device("cpu")), exact_rows)
    metrics.update(logits[mine], labels[mine])
    assert metrics.compute() == metrics.compute(), "computing must leave the state as it was"
    torch.save(metrics.compute().to_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("exact_rows", [2000, 1999, 1000])
def test_ranks_give_the_figures_of_all_rows(tmp_path: Path, exact_rows: int) -> None:
    """Also where one rank has few enough rows to keep them, and all of them together have not."""
    on_ranks(_rank, str(tmp_path), exact_rows, ranks=3)
    expected = figures_of(*clicks(2000), exact_rows=exact_rows).to_dict()
    for rank in range(3):
        figures = torch.load(tmp_path / f"{rank}.pt")
        assert figures["auc"] == expected["auc"]
        assert figures == pytest.approx(expected, rel=1e-12)
