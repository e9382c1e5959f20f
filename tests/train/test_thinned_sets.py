"""Training on a part of the negatives: models of all rows, whatever gives their probabilities out."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from criteo_stream.base.errors import DataSetError
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.thinning import click_rate, logit_shift
from criteo_stream.metrics.figures import DetailedEvaluation
from criteo_stream.models import build_model
from criteo_stream.predict.evaluate import compare_runs, evaluate_run
from criteo_stream.predict.export import export_run
from criteo_stream.predict.restore import load_run
from criteo_stream.predict.scorer import predict_run
from criteo_stream.runs.config import TrainConfig
from criteo_stream.synthetic import write_synthetic
from tests.support.data_sets import prepare
from tests.support.training import (
    Crash,
    crash_after,
    farthest,
    fit,
    outcome,
    thinned_set,
    tiny_set,
    trainer,
    weights,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

KEEP = 0.25
OPTIONS: dict[str, Any] = {"model": "lr", "bins": 16, "batch_size": 1024, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw logs, the set made of all rows, a thinned one with its fit, and a run on the second."""
    folder = tmp_path_factory.mktemp("place")
    write_synthetic(folder / "train.tsv", 150_000, seed=3)
    write_synthetic(folder / "test.tsv", 60_000, seed=3, start=150_000)
    raw = [folder / "train.tsv", folder / "test.tsv"]
    test_files = (str(folder / "test.tsv"),)
    prepare(raw, folder / "whole", test_files=test_files)
    prepare(
        raw, folder / "thinned", test_files=test_files,
        fit_from=folder / "whole", keep_negatives=KEEP,
    )  # fmt: skip
    fit(folder / "thinned", folder / "run", **OPTIONS)
    return folder


def evaluated(place: Path, split: str, **options: Any) -> DetailedEvaluation:
    return evaluate_run(place / "run", split, quiet=True, **options)


def test_predictions_are_calibrated_on_all_rows(place: Path) -> None:
    found = evaluated(place, "test")
    assert found.rows == 60_000
    assert found.calibration is not None
    assert found.calibration == pytest.approx(1, abs=0.01)
    # Not only on the whole: no part of the curve is off as a model of the rows kept would be.
    for part in found.calibration_curve:
        assert part.predicted == pytest.approx(part.click_rate, rel=0.2, abs=0.02)


def test_a_set_with_another_share_gives_the_same_figures_and_all_rows_fit(place: Path) -> None:
    for split in ("test", "train"):
        whole = evaluated(place, split, data=place / "whole")
        assert whole.calibration == pytest.approx(1, abs=0.01)
        if split == "test":
            assert whole == evaluated(place, "test")
    # Against thinned rows their own share counts.
    thinned = evaluated(place, "train")
    assert thinned.calibration == pytest.approx(1, abs=0.01)
    assert whole.auc == pytest.approx(thinned.auc, abs=0.01)
    compared = compare_runs(place / "run", place / "run", "train", quiet=True)
    assert compared.evaluation == compared.other == thinned


def test_evaluate_predict_and_exports_agree(place: Path, tmp_path: Path) -> None:
    found = evaluated(place, "test")
    predict_run(place / "run", place / "test.tsv", tmp_path / "p.parquet", quiet=True)
    frame = pl.read_parquet(tmp_path / "p.parquet")
    assert found.calibration is not None
    p, label = frame["probability"].to_numpy().astype(np.float64), frame["label"].to_numpy()
    assert p.sum() / label.sum() == pytest.approx(found.calibration, rel=1e-5)
    loss = -np.log(np.where(label == 1, p, 1 - p)).mean()
    assert loss == pytest.approx(found.log_loss, rel=1e-5)
    (numeric, categorical), _ = next(
        iter(CriteoDataset(place / "thinned", "test", 500, shuffle=False))
    )
    with torch.no_grad():
        wanted = load_run(place / "run").model.eval()(numeric, categorical).sigmoid()
    export_run(place / "run", "torch", tmp_path / "torch")
    program = torch.export.load(tmp_path / "torch" / "model.pt2").module()
    torch.testing.assert_close(program(numeric, categorical), wanted, rtol=0, atol=1e-5)


def test_best_weights_are_chosen_by_figures_on_all_rows(place: Path) -> None:
    (line,) = trainer(place / "thinned", place / "run", **OPTIONS).folder.history.read()
    found = evaluated(place, "train", data=place / "whole")
    assert line.log_loss is None  # the set has no valid split
    # The training loss is that of the rows kept, whose clicks are harder to tell.
    assert found.log_loss is not None
    assert line.train_loss > found.log_loss + 0.05


@pytest.mark.parametrize("model", ["fm", "lr", "deepfm"])
def test_weights_are_those_of_the_rows_kept_but_for_the_bias(tmp_path: Path, model: str) -> None:
    tiny_set(tmp_path / "rows")
    thinned_set(tmp_path / "thinned", 1500)
    for name in ("rows", "thinned"):
        fit(tmp_path / name, tmp_path / f"run-{name}", model=model, epochs=2)
    rows, thinned = (weights(tmp_path / f"run-{name}") for name in ("rows", "thinned"))
    shift = logit_shift(Manifest.read(tmp_path / "thinned"), "train")
    assert shift > 1
    thinned["bias"] = thinned["bias"] + shift
    assert farthest(rows, thinned) < 1e-4


def test_the_bias_starts_at_the_click_rate_of_all_rows(tmp_path: Path) -> None:
    manifest = Manifest.read(thinned_set(tmp_path / "set", 1500))
    model = build_model(TrainConfig().resolved(1000), manifest)
    rate = click_rate(manifest)
    assert model.bias.item() == pytest.approx(math.log(rate / (1 - rate)))
    assert rate < 0.15 < manifest.shards["train"][0].positives / manifest.shards["train"][0].rows


def test_a_run_goes_on_from_one_with_another_share(place: Path, tmp_path: Path) -> None:
    before = evaluated(place, "test")
    options = {**OPTIONS, "learning_rate": 0.0}
    fit(place / "whole", tmp_path / "run", from_run=place / "run", **options)
    assert evaluate_run(tmp_path / "run", "test", quiet=True) == before


def test_an_interrupted_run_on_a_thinned_set_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = thinned_set(tmp_path / "set", 1500)
    fit(data, tmp_path / "whole", epochs=2)
    with monkeypatch.context() as patch:
        crash_after(patch, 30)
        with pytest.raises(Crash):
            fit(data, tmp_path / "run", epochs=2, checkpoint_every=200)
    fit(data, tmp_path / "run", epochs=2, checkpoint_every=200)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_a_training_split_without_negatives_says_why(tmp_path: Path) -> None:
    raw = tmp_path / "raw.tsv"
    write_synthetic(raw, 500)
    prepare(raw, tmp_path / "data", keep_negatives=1e-9, min_count=1)
    with pytest.raises(DataSetError, match=r"labels of .* are 1: .*larger --keep-negatives"):
        fit(tmp_path / "data", tmp_path / "run")
