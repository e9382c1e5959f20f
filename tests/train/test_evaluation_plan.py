"""How often a run is evaluated, and on which rows."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.metrics.measure import EVALUATION_BATCH
from criteo_stream.metrics.streaming import BinaryMetrics
from criteo_stream.predict.evaluate import evaluate_run
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.config_file import read_record
from criteo_stream.runs.evaluations import ROWS_STEP, EvaluationPlan, planned
from criteo_stream.train import recorder
from tests.support.training import fit, outcome, stop_after, tiny_set, weights

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def evaluations(plan: EvaluationPlan, rows: int, epochs: int) -> int:
    return epochs * (-(-rows // plan.every) if plan.every else 1)


def test_kaggle_has_fourteen_on_a_share_of_the_valid_split() -> None:
    config = TrainConfig().resolved(36_672_493, valid=4_584_061, ids=1_000_000)
    assert (config.epochs, config.evaluate_every, config.evaluate_rows) == (1, 2_619_464, 65_536)
    plan = EvaluationPlan(config.evaluate_every, config.evaluate_rows)
    assert evaluations(plan, 36_672_493, 1) == 14


@given(st.integers(1, 10**10), st.integers(1, 30), st.integers(0, 10**9))
def test_a_curve_has_points_and_its_cost_is_bounded(rows: int, epochs: int, valid: int) -> None:
    plan = planned(rows, epochs, valid, patient=False)
    number = evaluations(plan, rows, epochs)
    assert plan.rows % ROWS_STEP == 0
    assert number <= max(15, epochs)
    if valid and rows >= 100:
        assert number >= min(6, max(15 // epochs, 1) * epochs)
        read = (number - epochs) * (plan.rows or valid)
        small = 6 * ROWS_STEP  # what the least number of evaluations reads
        assert read <= 0.3 * rows * epochs + small


@given(st.integers(1, 10**10), st.integers(1, 30), st.integers(1, 10**9), st.integers(0, 10**12))
def test_what_checkpoints_write_is_part_of_the_cost(
    rows: int, epochs: int, valid: int, size: int
) -> None:
    plan = planned(rows, epochs, valid, patient=False, weights=size)
    number = evaluations(plan, rows, epochs) - epochs  # the ends of epochs have theirs anyway
    small = 6 * (ROWS_STEP + 60_000)
    cost = min(plan.rows or valid, valid) + size // 42
    assert number <= 2 or number * cost <= 0.3 * rows * epochs + small
    assert number <= evaluations(planned(rows, epochs, valid, patient=False), rows, epochs)


def test_large_tables_are_written_less_often() -> None:
    def config(ids: int, **options: object) -> TrainConfig:
        return TrainConfig.from_dict(options, "here").resolved(3_200_025, valid=400_348, ids=ids)

    assert config(0).evaluate_every == config(100_000).evaluate_every == 533_338
    assert config(4_400_000).evaluate_every == 1_066_675
    assert config(4_400_000, model="lr").evaluate_every == 800_007
    assert config(500_000, model="ffm").evaluate_every == 1_066_675


def test_with_patience_epochs_are_what_is_counted() -> None:
    config = TrainConfig(patience=2, epochs=20).resolved(10**6, valid=10**5)
    assert (config.evaluate_every, config.evaluate_rows) == (0, 0)


def test_what_is_given_stays() -> None:
    config = TrainConfig(evaluate_every=10**6, evaluate_rows=0).resolved(10**8, valid=10**7)
    assert (config.evaluate_every, config.evaluate_rows) == (10**6, 0)
    assert TrainConfig(evaluate_every=0).resolved(10**8, valid=10**7).evaluate_rows == 0


@pytest.mark.parametrize("epochs", [8, 10, 15, 40])
def test_whole_splits_choose_the_best_where_no_others_are_measured(epochs: int) -> None:
    config = TrainConfig(epochs=epochs).resolved(10**7, valid=10**6)
    assert (config.evaluate_every, config.evaluate_rows) == (0, 0)


def test_evaluations_asked_for_within_an_epoch_are_on_a_share() -> None:
    config = TrainConfig(epochs=8, evaluate_every=10**6).resolved(10**7, valid=10**7)
    assert (config.evaluate_every, config.evaluate_rows) == (10**6, 7 * ROWS_STEP)


def test_rows_come_in_whole_batches() -> None:
    assert ROWS_STEP == EVALUATION_BATCH


def test_all_lines_are_of_the_same_rows_and_an_epoch_ends_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "EVALUATION_BATCH", 32)
    monkeypatch.setattr("criteo_stream.train.assembly.EVALUATION_BATCH", 32)
    data, run = tiny_set(tmp_path / "set"), tmp_path / "run"
    result = fit(data, run, epochs=2, evaluate_every=300, evaluate_rows=50)
    assert [line.valid_rows for line in result.history] == [64] * 6
    whole = [line.whole_log_loss is not None for line in result.history]
    assert whole == [False, False, True] * 2
    last = result.history[-1]
    assert last.has_both
    assert result.best is not None
    assert result.best.auc == max(line.auc for line in result.history if line.auc is not None)
    if result.best == last:
        assert evaluate_run(run, "valid", quiet=True).auc == pytest.approx(last.whole_auc)
    assert "on 64 rows; AUC" in last.text()


def test_rows_that_do_not_fit_the_memory_are_read_again_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "EVALUATION_BATCH", 32)
    monkeypatch.setattr("criteo_stream.train.assembly.EVALUATION_BATCH", 32)
    data, run = tiny_set(tmp_path / "set"), tmp_path / "run"
    fit(data, run, epochs=2, evaluate_every=300, evaluate_rows=50)
    monkeypatch.setattr(recorder, "_MOST_KEPT", 0)
    seen = []
    update = BinaryMetrics.update

    def counted(self: BinaryMetrics, logits: Tensor, label: Tensor) -> None:
        seen.append(len(label))
        update(self, logits, label)

    monkeypatch.setattr(BinaryMetrics, "update", counted)
    again = fit(data, tmp_path / "again", epochs=2, evaluate_every=300, evaluate_rows=50)
    assert outcome(tmp_path / "again") == outcome(run)
    assert again.finished
    whole = CriteoDataset(data, "valid", 32).rows
    assert sum(seen) == 2 * (64 + 64 + whole)


def test_a_stopped_run_has_the_same_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "EVALUATION_BATCH", 32)
    monkeypatch.setattr("criteo_stream.train.assembly.EVALUATION_BATCH", 32)
    data = tiny_set(tmp_path / "set")
    fit(data, tmp_path / "whole", evaluate_every=None, evaluate_rows=50)
    with monkeypatch.context() as patch:
        stop_after(patch, 11)
        assert not fit(data, tmp_path / "run", evaluate_every=None, evaluate_rows=50).finished
    fit(data, tmp_path / "run", evaluate_every=None, evaluate_rows=50)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert len(outcome(tmp_path / "run").history) == 6


def test_weights_do_not_depend_on_evaluations(tmp_path: Path) -> None:
    data = tiny_set(tmp_path / "set")
    fit(data, tmp_path / "often", evaluate_every=32, model="deepfm")
    fit(data, tmp_path / "once", evaluate_every=0, model="deepfm")
    often, once = weights(tmp_path / "often"), weights(tmp_path / "once")
    assert all(bool((often[name] == once[name]).all()) for name in once)


def test_an_older_run_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    data, run = tiny_set(tmp_path / "set"), tmp_path / "run"
    fit(data, run, evaluate_every=0, evaluate_rows=0)
    file = run / "config.toml"
    file.write_text(file.read_text().replace("evaluate_rows = 0\n", ""))
    record = read_record(file)
    assert (record.config.evaluate_every, record.config.evaluate_rows) == (0, 0)
    assert fit(data, run, evaluate_every=None).finished, (
        "what an older version chose is not asked for again"
    )


def test_the_first_batches_are_spread_over_the_split(tmp_path: Path) -> None:
    data = tiny_set(tmp_path / "set", valid=(512,))
    valid = CriteoDataset(data, "valid", 32, lanes=4, shuffle=False)
    segments = [lane[0].group for lane in valid.order.plan(0, range(4))]
    assert len(set(segments)) == 4
