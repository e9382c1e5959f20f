"""Training on a part of the negatives gives models of all rows, whoever asks for probabilities."""

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
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.folder import RunFolder
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
    write_synthetic(folder / "valid.tsv", 100_000, seed=3, start=150_000)
    write_synthetic(folder / "test.tsv", 100_000, seed=3, start=250_000)
    raw = sorted(folder.glob("*.tsv"))
    files = {f"{split}_files": (str(folder / f"{split}.tsv"),) for split in ("valid", "test")}
    prepare(raw, folder / "whole", **files)
    prepare(raw, folder / "thinned", fit_from=folder / "whole", keep_negatives=KEEP, **files)
    fit(folder / "thinned", folder / "run", **OPTIONS)
    return folder


def evaluated(place: Path, split: str, **options: Any) -> DetailedEvaluation:
    return evaluate_run(place / "run", split, quiet=True, **options)


@pytest.mark.parametrize("model", ["lr", "fm"])
def test_predictions_are_calibrated_on_all_rows(place: Path, tmp_path: Path, model: str) -> None:
    run = place / "run"
    if model != "lr":
        run = tmp_path / "run"
        fit(place / "thinned", run, **OPTIONS | {"model": model})
    found = evaluate_run(run, "test", quiet=True)
    assert found.rows == 100_000
    assert found.calibration == pytest.approx(1, abs=0.01)
    if model == "fm":  # the other one is too simple for these rows
        for part in found.calibration_curve:
            assert part.predicted == pytest.approx(part.click_rate, rel=0.2, abs=0.02)


def test_the_valid_split_sets_the_intercept_and_the_training_goes_on_without(place: Path) -> None:
    (line,) = RunFolder(place / "run").history.read()
    found = evaluated(place, "valid")
    assert line.calibration == pytest.approx(1, abs=1e-6)
    for name in ("auc", "log_loss", "ne", "calibration"):
        assert getattr(found, name) == pytest.approx(getattr(line, name), rel=1e-5)
    checkpoint = CheckpointFolder(place / "run" / "checkpoints").load_best()
    intercept = checkpoint.state["intercept"]
    assert abs(intercept) > 0.01, "a linear model is far from right here"
    given_out = load_run(place / "run").model.state_dict()
    given_out["bias"] -= intercept
    assert farthest(given_out, weights(place / "run")) < 1e-6


def test_a_set_with_another_share_gives_the_same_figures(place: Path) -> None:
    assert evaluated(place, "test", data=place / "whole") == evaluated(place, "test")
    # Against the labels of thinned rows their own share counts.
    whole, thinned = evaluated(place, "train", data=place / "whole"), evaluated(place, "train")
    assert whole.calibration == pytest.approx(1, abs=0.02)
    assert thinned.calibration == pytest.approx(1, abs=0.05)
    assert thinned.positives == whole.positives
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
    """Where a rate of 0 changes nothing, it gives the figures of that run."""
    before = evaluated(place, "test")
    for data in ("whole", "thinned"):
        run = tmp_path / data
        fit(place / data, run, from_run=place / "run", **OPTIONS | {"learning_rate": 0.0})
        found = evaluate_run(run, "test", quiet=True)
        assert found.log_loss == pytest.approx(before.log_loss, rel=1e-6)
        assert found.calibration == pytest.approx(before.calibration, rel=1e-6)


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
    found = outcome(tmp_path / "run")
    assert found == outcome(tmp_path / "whole")
    assert found.state["intercept"] != 0


def test_a_training_split_without_negatives_says_why(tmp_path: Path) -> None:
    raw = tmp_path / "raw.tsv"
    write_synthetic(raw, 500)
    prepare(raw, tmp_path / "data", keep_negatives=1e-9, min_count=1)
    with pytest.raises(DataSetError, match=r"labels of .* are 1: .*larger --keep-negatives"):
        fit(tmp_path / "data", tmp_path / "run")
