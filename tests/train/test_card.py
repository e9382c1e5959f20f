"""The model card: what it says, in a form that the Hub reads."""

from pathlib import Path

import pytest
import yaml

from criteo_stream.train.diverged import is_worse_than_the_rate, verdict
from tests.support.training import fit, stop_after, tiny_set
from tests.train.test_early_stopping import evaluation

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def read_card(run: Path) -> tuple[dict, str]:
    _, front, text = (run / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_it_says_what_the_run_is_worth(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "my 'run' | [a]"
    result = fit(data, run)
    front, text = read_card(run)
    assert front["library_name"] == "criteo-stream"
    assert "license" not in front
    (model,) = front["model-index"]
    assert model["name"] == run.name
    (found,) = model["results"]
    assert found["dataset"]["split"] == "valid"
    assert result.best is not None
    values = {metric["type"]: metric["value"] for metric in found["metrics"]}
    assert values["log_loss"] == pytest.approx(result.best.log_loss, abs=1e-6)
    assert values["roc_auc"] == pytest.approx(result.best.auc, abs=1e-6)
    assert result.best.ne is not None
    rate = result.best.log_loss / result.best.ne
    assert f"| log loss | {result.best.log_loss:.6f} | {rate:.6f} |" in text
    assert "| train | 710 |" in text
    assert "predict_proba(rows)" in text
    assert "| --embedding-dim | 4 |" in text


def test_equal_runs_have_equal_cards(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(data, tmp_path / "a" / "run")
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        fit(data, tmp_path / "b" / "run")
    assert not (tmp_path / "b" / "run" / "README.md").exists()
    fit(data, tmp_path / "b" / "run")
    cards = [(tmp_path / name / "run" / "README.md").read_bytes() for name in "ab"]
    assert cards[0] == cards[1]


def test_without_a_valid_split(tmp_path: Path) -> None:
    fit(tiny_set(tmp_path / "set", valid=()), tmp_path / "run")
    front, text = read_card(tmp_path / "run")
    assert "model-index" not in front
    assert "no valid split" in text


def test_a_diverged_run_says_so_and_what_to_do(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = fit(data, tmp_path / "run", learning_rate=30.0, epochs=3, quiet=False)
    assert any(is_worse_than_the_rate(line) for line in result.history)
    (warning,) = result.warnings
    assert "lower --learning-rate (now 30)" in warning
    told = capsys.readouterr().err
    assert f"warning: {warning}\n" in told
    rows = [line for line in told.splitlines() if "NE > 1" in line]
    assert rows
    assert not any("best" in row for row in rows)
    assert "see the warning" in result.summary()
    assert result.to_dict()["warnings"] == [warning]
    assert "**Warning:**" in read_card(tmp_path / "run")[1]


@pytest.mark.parametrize(
    ("losses", "warns"),
    [([0.5, 0.4, 0.41], False), ([0.5, 0.4, 0.43], True), ([0.5], False), ([], False)],
)
def test_a_loss_that_rises_to_the_end_is_told(losses: list[float], warns: bool) -> None:
    from criteo_stream.runs.config import TrainConfig

    history = [evaluation(step, "log_loss", loss) for step, loss in enumerate(losses, 1)]
    found = verdict(history, TrainConfig().resolved(1000))
    assert (found is not None) == warns
    if found:
        assert "rose from 0.40000 to 0.43000" in found
        assert "--learning-rate" in found
