"""What the first sentence of a page says, for all that figures may be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.metrics.figures import Difference
from criteo_stream.report import write_report
from criteo_stream.report.facts import RunFacts
from criteo_stream.report.verdict import amount, verdict

BETTER, WORSE, SAME = (0.001, 0.003), (-0.003, -0.001), (-0.001, 0.003)


@pytest.fixture(scope="module")
def facts(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> RunFacts:
    out = tmp_path_factory.mktemp("verdict") / "r.html"
    (found,) = write_report(runs[1:], out, quiet=True).runs
    return replace(found, name="run-fm")


def difference(auc: Any, log_loss: Any) -> Difference:
    return Difference(
        auc=auc and sum(auc) / 2,
        auc_interval=auc,
        log_loss=log_loss and sum(log_loss) / 2,
        log_loss_interval=log_loss,
    )


def of_pair(facts: RunFacts, found: Difference | None) -> str:
    other = replace(facts, name="run-lr", difference=found)
    return verdict([facts, other], "valid").headline


@pytest.mark.parametrize(
    ("auc", "log_loss", "expected"),
    [
        (BETTER, WORSE, "run-lr is better than run-fm: AUC +0.0020 ± 0.0010, log loss −0.0020"),
        (WORSE, BETTER, "run-lr is worse than run-fm: AUC −0.0020 ± 0.0010, log loss +0.0020"),
        (BETTER, SAME, "run-lr is better than run-fm: AUC +0.0020 ± 0.0010, "
         "log loss +0.0010 ± 0.0020 (chance?)"),
        (SAME, BETTER, "run-lr is worse than run-fm: log loss +0.0020 ± 0.0010, "
         "AUC +0.0010 ± 0.0020 (chance?)"),
        (BETTER, BETTER, "run-lr ranks better than run-fm, but its probabilities are worse: AUC"),
        (WORSE, WORSE, "run-lr ranks worse than run-fm, but its probabilities are better: AUC"),
        (SAME, SAME, "No difference can be seen between run-lr and run-fm: AUC +0.0010 ± 0.0020,"),
        (None, BETTER, "run-lr is worse than run-fm: log loss +0.0020 ± 0.0010"),
        ((0.0, 0.0), (0.0, 0.0), "No difference can be seen between run-lr and run-fm: AUC +0.00"),
        (None, None, "run-lr and run-fm cannot be compared: the split has too few rows"),
    ],
)  # fmt: skip
def test_two_runs(facts: RunFacts, auc: Any, log_loss: Any, expected: str) -> None:
    assert of_pair(facts, difference(auc, log_loss)).startswith(expected)


def test_runs_on_different_rows(facts: RunFacts) -> None:
    assert "cannot be compared: they were evaluated on different rows" in of_pair(facts, None)


def test_several_runs_are_told_apart(facts: RunFacts) -> None:
    found = {
        "a": difference(BETTER, WORSE),
        "b": difference(WORSE, SAME),
        "c": difference(SAME, SAME),
        "d": difference(BETTER, BETTER),
        "e": None,
        "f": difference(BETTER, SAME),
    }
    runs = [facts, *(replace(facts, name=name, difference=d) for name, d in found.items())]
    told = verdict(runs, "valid")
    assert told.headline == (
        "Against run-fm: better: a, f; worse: b; mixed: d; no difference seen: c; not comparable: e"
    )
    assert told.details[0].startswith("a is better than run-fm: AUC +0.0020 ± 0.0010")
    assert len([line for line in told.details if "run-fm: AUC" in line]) == 4


def evaluated(facts: RunFacts, **figures: Any) -> RunFacts:
    return replace(facts, evaluation=replace(facts.evaluation, **figures))


@pytest.mark.parametrize(
    ("log_loss", "expected"),
    [
        (0.45, "run-fm is better than the base rate: log loss 0.450 ± 0.012 against 0.5000"),
        (0.495, "run-fm cannot be told from the base rate: log loss 0.495 ± 0.012 against"),
        (0.55, "run-fm is worse than the base rate: log loss 0.550 ± 0.012 against 0.5000"),
    ],
)
def test_one_run_is_judged_by_the_base_rate(
    facts: RunFacts, log_loss: float, expected: str
) -> None:
    ends = (log_loss - 0.012, log_loss + 0.012)
    found = evaluated(facts, log_loss=log_loss, log_loss_interval=ends, ne=log_loss / 0.5)
    assert verdict([found], "valid").headline.startswith(expected)


def test_a_split_of_one_kind_of_row_gives_no_judgement(facts: RunFacts) -> None:
    none = evaluated(facts, ne=None, auc=None, auc_interval=None, calibration=None, positives=0)
    assert verdict([none], "test").headline == (
        "run-fm cannot be judged: the test split has no click"
    )


def test_an_order_that_may_be_chance_is_called_so(facts: RunFacts) -> None:
    told = verdict([evaluated(facts, auc=0.51, auc_interval=(0.49, 0.53))], "valid").details
    assert any("may be chance" in line for line in told)


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        (1.0, "Calibrated: 1.000 predicted clicks for each actual click."),
        (1.5, "Not calibrated: it predicts 50.0% more clicks than there were."),
        (0.5, "Not calibrated: it predicts 50.0% fewer clicks than there were."),
    ],
)
def test_calibration_is_told(facts: RunFacts, calibration: float, expected: str) -> None:
    assert expected in verdict([evaluated(facts, calibration=calibration)], "valid").details


def trained(facts: RunFacts, *, valid: list[float], train: list[float], ne: float) -> RunFacts:
    lines = [
        replace(facts.history[0], step=i + 1, rows=1000 * (i + 1), log_loss=v, train_loss=t, ne=ne)
        for i, (v, t) in enumerate(zip(valid, train, strict=True))
    ]
    return replace(facts, history=lines)


@pytest.mark.parametrize(
    ("valid", "train", "ne", "expected"),
    [
        ([0.5, 0.4], [0.5, 0.4], 0.8, "Training did not diverge."),
        ([0.5, 0.4, 0.6], [0.5, 0.4, 0.3], 1.2,
         "Training overfitted: from 2,000 rows on, the valid log loss rose from 0.4000 to 0.6000"),
        ([0.5, 0.4, 9.0], [0.5, 0.4, 8.0], 20, "Training diverged: from 2,000 rows on"),
        ([0.63, 0.63], [0.64, 0.63], 1.1, "Training did not get better than the base rate"),
        ([0.5, 0.4, 0.45], [0.5, 0.4, 0.41], 0.9, "Training got worse: from 2,000 rows on"),
    ],
)  # fmt: skip
def test_how_training_went_is_told(
    facts: RunFacts, valid: list[float], train: list[float], ne: float, expected: str
) -> None:
    found = trained(facts, valid=valid, train=train, ne=ne)
    assert any(line.startswith(expected) for line in verdict([found], "valid").details)


def test_training_that_is_not_over_is_told(facts: RunFacts) -> None:
    half = replace(facts, steps_done=facts.total_steps // 2)
    expected = f"Training stopped at step {half.steps_done:,} of {half.total_steps:,}."
    assert verdict([half], "valid").details[-1].endswith(expected)
    both = verdict([half, replace(facts, name="b")], "valid").details
    assert [line[:8] for line in both if line.endswith(expected)] == ["run-fm: "]


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (-0.00361, 0.00112, "−0.0036 ± 0.0011"),
        (0.5, 0.2, "+0.50 ± 0.20"),
        (0.0000123, 0.0000001, "+0.000012 ± 0.000000"),
        (12.0, 3.0, "+12.00 ± 3.00"),
    ],
)
def test_figures_have_as_many_digits_as_their_interval(
    value: float, half: float, expected: str
) -> None:
    assert amount(value, (value - half, value + half)) == expected
