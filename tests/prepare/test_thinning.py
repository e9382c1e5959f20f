"""Negatives of the training split left out: which, how many, and that nothing else changes."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream import Trainer, evaluate_run, export_run, predict_run
from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.data.thinning import click_rate, logit_shift, negatives_kept
from criteo_stream.prepare.splits import THINNED, TRAIN, HashedSplit, thin
from criteo_stream.runs.config import TrainConfig
from criteo_stream.synthetic import write_synthetic
from tests.support.data_sets import content, prepare, read_split
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.stopped_preparation import StoppedError, stopping_at

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

OPTIONS: dict[str, Any] = {"block_rows": 500, "min_count": 2, "max_bad_rows": 3}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for day in range(3):
        lines = raw_lines(1200, seed=day)
        lines[700] = b"not a line"
        write_raw(folder / f"day_{day}", lines)
    return folder


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "data"
    prepare(raw, out, **OPTIONS)
    return out


def test_negatives_of_the_training_split_go_and_nothing_else(
    raw: Path, whole: Path, tmp_path: Path
) -> None:
    thinned = prepare(raw, tmp_path / "thin", fit_from=whole, keep_negatives=0.25, valid=0.1,
                      test=0.1, block_rows=500, max_bad_rows=3).manifest  # fmt: skip
    rows = thinned.rows
    assert sum(v for k, v in rows.items() if k != "read") == rows["read"]
    assert rows["rejected"] == 3
    before, after = read_split(whole, "train"), read_split(tmp_path / "thin", "train")
    negatives = before.filter(pl.col("label") == 0).height
    assert after.filter(pl.col("label") == 1).height == before.filter(pl.col("label") == 1).height
    kept = after.filter(pl.col("label") == 0).height
    assert kept + rows["thinned"] == negatives
    # Within four standard deviations of a binomial count.
    assert abs(kept - negatives / 4) < 4 * math.sqrt(negatives * 0.25 * 0.75)
    assert negatives_kept(thinned) == kept / negatives
    assert after.join(before, on=before.columns, how="anti", nulls_equal=True).is_empty()
    for split in ("valid", "test"):
        for shard in thinned.shards[split]:
            assert (tmp_path / "thin" / shard.path).read_bytes() == (
                whole / shard.path
            ).read_bytes()


def test_the_same_rows_whatever_the_threads_and_interruptions(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**OPTIONS, "keep_negatives": 0.5}
    prepare(raw, tmp_path / "one", workers=1, **options)
    prepare(raw, tmp_path / "many", workers=4, memory="3GB", **options)
    assert content(tmp_path / "one") == content(tmp_path / "many")
    for number in (12, 60, 110):
        with stopping_at(monkeypatch, number, StoppedError()), pytest.raises(StoppedError):
            prepare(raw, tmp_path / "halves", **options)
    prepare(raw, tmp_path / "halves", **options)
    assert content(tmp_path / "one") == content(tmp_path / "halves")


def test_keeping_all_is_no_option(raw: Path, whole: Path, tmp_path: Path) -> None:
    manifest = prepare(raw, tmp_path / "all", keep_negatives=1, **OPTIONS).manifest
    assert content(tmp_path / "all") == content(whole)
    assert "thinned" not in manifest.rows
    assert logit_shift(manifest, "train") == 0


def test_another_rate_is_another_set(raw: Path, tmp_path: Path) -> None:
    prepare(raw, tmp_path / "data", keep_negatives=0.5, **OPTIONS)
    with pytest.raises(OutputError, match=r"begun with keep_negatives = 0\.5, now it is 0\.25"):
        prepare(raw, tmp_path / "data", keep_negatives=0.25, **OPTIONS)
    with pytest.raises(OutputError, match=r"begun with keep_negatives = 0\.5, now it is 1\.0"):
        prepare(raw, tmp_path / "data", **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_negatives": 0}, "--keep-negatives is 0, expected more than 0"),
        ({"keep_negatives": -0.1}, "--keep-negatives is -0.1, expected more than 0"),
        ({"keep_negatives": 1.5}, "--keep-negatives is 1.5, expected at most 1"),
    ],
)
def test_nonsense_is_refused(
    raw: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(raw, tmp_path / "data", **OPTIONS, **options)


def test_a_set_without_training_rows_has_none_to_thin(
    raw: Path, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="all rows go to valid or test"):
        prepare(raw, tmp_path / "x", fit_from=whole, keep_negatives=0.5, block_rows=500)


@given(st.integers(0, 99), st.floats(0.05, 0.95), st.floats(0.1, 0.9))
def test_the_split_and_the_thinning_are_independent(seed: int, keep: float, valid: float) -> None:
    lines = np.arange(1, 20_001)
    codes = HashedSplit(seed=seed, name="day", valid=valid, test=0.0).codes(lines)
    labels = np.zeros(len(lines), np.uint8)
    all_train = np.full_like(codes, TRAIN)
    left_out = thin(all_train, labels, lines, seed=seed, name="day", keep_negatives=keep) == THINNED
    assert abs(left_out.mean() - (1 - keep)) < 0.02
    correlation = np.corrcoef(left_out, codes == TRAIN)[0, 1]
    assert abs(correlation) < 0.04  # five standard deviations of a correlation of 20,000 rows


def test_probabilities_are_those_of_all_rows(tmp_path: Path) -> None:
    """Calibrated on a whole test split, by every way that a probability is given out."""
    write_synthetic(tmp_path / "raw.tsv", 120_000, 5)
    manifest = prepare(tmp_path / "raw.tsv", tmp_path / "data", keep_negatives=0.25).manifest
    run = tmp_path / "run"
    Trainer(tmp_path / "data", run, TrainConfig(epochs=1), quiet=True).fit()
    found = evaluate_run(run, "test", quiet=True)
    assert found.calibration is not None
    # Few rows calibrate a model roughly; without the shift it would be beyond 2.
    assert found.calibration == pytest.approx(1, abs=0.1)
    assert click_rate(manifest) == pytest.approx(0.256, abs=0.01)
    predict_run(run, tmp_path / "raw.tsv", tmp_path / "p.parquet", quiet=True)
    predictions = pl.read_parquet(tmp_path / "p.parquet")
    mean = predictions["probability"].mean()
    clicks = predictions["label"].mean()
    assert isinstance(mean, float)
    assert isinstance(clicks, float)
    assert mean / clicks == pytest.approx(1, abs=0.1)
    trained = evaluate_run(run, "train", quiet=True)
    assert trained.calibration == pytest.approx(1, abs=0.1)
    export_run(run, "safetensors", tmp_path / "export")
