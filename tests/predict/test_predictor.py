"""`load(run).predict_proba` answers as `predict` does, however rows are given."""

import gzip
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from criteo_stream import (
    DataSetError,
    Predictor,
    RunError,
    UsageError,
    load,
    predict_run,
)
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.folder import DataFolder
from criteo_stream.models.registry import MODELS
from tests.support.data_sets import prepare
from tests.support.paths import REPOSITORY, real_rows
from tests.support.raw_lines import raw_lines, unlabelled, with_field, write_raw
from tests.support.training import fit

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

CLOSE = 1e-6
"""A sum goes by the number of rows, so the last bits do."""
WEIGHTS: dict[str, Any] = {"learning_rate": 0.03, "init_scale": 0.1, "epochs": 2}
"""Probabilities that differ widely, so that no difference hides."""
CASES: list[dict[str, Any]] = [{"model": name} for name in MODELS] + [
    {"numeric": "value"},
    {"numeric": "bins"},
    {"model": "deepfm", "numeric": "value"},
    {"model": "ffm", "numeric": "bins"},
    {"model": "fibinet", "pairs": "hadamard", "numeric": "value"},
    {"model": "bilinear-ffm", "bilinear": "interaction", "layer_norm": True},
]
LINES = raw_lines(3000, seed=7)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set, a thinned one and one that extends the first, a run on each, and raw lines."""
    folder = tmp_path_factory.mktemp("place")
    write_raw(folder / "rows.tsv", LINES)
    options: dict[str, Any] = {"min_count": 2}
    prepare(write_raw(folder / "old.tsv", raw_lines(2000)), folder / "data", **options)
    prepare(folder / "old.tsv", folder / "thinned", keep_negatives=0.3, **options)
    prepare(write_raw(folder / "new.tsv", raw_lines(900, seed=5)), folder / "extended",
            extend=folder / "data")  # fmt: skip
    for name in ("data", "thinned", "extended"):
        fit(folder / name, folder / f"run-{name}", **WEIGHTS)
    return folder


@pytest.fixture(scope="module")
def predictor(place: Path) -> Predictor:
    return load(place / "run-data")


def predicted(run: Path, raw: Path, out: Path, **options: Any) -> np.ndarray:
    predict_run(run, raw, out, quiet=True, **options)
    return pl.read_parquet(out)["probability"].to_numpy()


def as_dicts(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The same rows without labels; a missing value is None or left out."""
    rows = []
    for number, line in enumerate(lines):
        texts = dict(zip(FEATURE_COLUMNS, line.decode().split("\t")[1:], strict=True))
        row: dict[str, Any] = {
            c: (int(t) if c in INTEGER_COLUMNS else t) if t else None for c, t in texts.items()
        }
        rows.append(row if number % 2 else {c: v for c, v in row.items() if v is not None})
    return rows


def as_frame(lines: Sequence[bytes]) -> pl.DataFrame:
    types = {c: pl.Int64 if c in INTEGER_COLUMNS else pl.String for c in FEATURE_COLUMNS}
    return pl.DataFrame(as_dicts(lines), schema=types)


def assert_answers(asked: Predictor, lines: list[bytes], wanted: np.ndarray) -> None:
    """All at once, in parts of several sizes, and one by one."""
    for part in (len(lines), 400, 30, 1):
        starts = range(0, len(lines) if part > 1 else 300, part)
        found = np.concatenate([asked.predict_proba(lines[i : i + part]) for i in starts])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted[: len(found)], rtol=0, atol=CLOSE)
    assert wanted.std() > 0.05


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_probabilities_are_those_of_predict(
    place: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    fit(place / "data", tmp_path / "run", **WEIGHTS | options)
    wanted = predicted(tmp_path / "run", place / "rows.tsv", tmp_path / "p.parquet")
    assert_answers(load(tmp_path / "run"), LINES, wanted)


@pytest.mark.parametrize("name", ["thinned", "extended"])
def test_sets_that_are_thinned_or_extended(place: Path, tmp_path: Path, name: str) -> None:
    run = place / f"run-{name}"
    wanted = predicted(run, place / "rows.tsv", tmp_path / "p.parquet")
    assert_answers(load(run), LINES, wanted)


def test_an_old_run_on_a_newer_set(place: Path, tmp_path: Path) -> None:
    newer = place / "extended"
    wanted = predicted(place / "run-data", place / "rows.tsv", tmp_path / "p.parquet", data=newer)
    assert_answers(load(place / "run-data", newer), LINES, wanted)
    with pytest.raises(DataSetError, match="older than the run"):
        load(place / "run-extended", place / "data")


@pytest.mark.parametrize("name", ["criteo_kaggle_head_dev.tsv.gz", "criteo_1tb_day0_dev.tsv.gz"])
def test_real_rows(tmp_path: Path, name: str) -> None:
    raw = real_rows(name)
    prepare(raw, tmp_path / "data", min_count=3)
    fit(tmp_path / "data", tmp_path / "run", **WEIGHTS)
    wanted = predicted(tmp_path / "run", raw, tmp_path / "p.parquet")
    lines = gzip.decompress(raw.read_bytes()).removesuffix(b"\n").split(b"\n")
    assert len(lines) > 2000
    assert_answers(load(tmp_path / "run"), lines, wanted)


def with_first_integer(value: bytes, lines: list[bytes]) -> list[bytes]:
    return [with_field(1, value, line) for line in lines]


def forms(lines: list[bytes]) -> dict[str, Any]:
    frame = as_frame(lines)
    nullable = frame.to_pandas(use_pyarrow_extension_array=True)
    return {
        "bytes": lines,
        "text": [line.decode() for line in lines],
        "tuple": tuple(lines),
        "line ends": [line + (b"\r\n" if i % 2 else b"\n") for i, line in enumerate(lines)],
        "upper case": [line.upper() for line in lines],
        "leading zeros": with_first_integer(b"0" * 30 + b"5", lines),
        "without label": unlabelled(lines),
        "dictionaries": as_dicts(lines),
        "labelled dictionaries": [{"label": i % 2} | d for i, d in enumerate(as_dicts(lines))],
        "NumPy integers": [
            {c: np.int64(v) if isinstance(v, int) else v for c, v in d.items()}
            for d in as_dicts(lines)
        ],
        "Polars": frame,
        "Polars, other order": frame.select(reversed(frame.columns)).with_columns(label=1, Id=7),
        "Polars, floats": frame.cast(dict.fromkeys(INTEGER_COLUMNS, pl.Float64)),
        "Polars, categories": frame.cast({"C1": pl.Categorical, "C2": pl.Categorical}),
        "Polars, empty texts": frame.with_columns(pl.col(pl.String).fill_null("")),
        "pandas": frame.to_pandas(),
        "pandas, its own missing": nullable,
        "pandas, categories": frame.to_pandas().astype({"C1": "category"}),
    }  # fmt: skip


@pytest.mark.parametrize("form", forms(LINES[:2]))
@pytest.mark.parametrize("rows", [1, 200, 1500])
def test_all_forms_of_a_row_are_equal(predictor: Predictor, form: str, rows: int) -> None:
    lines = LINES[:rows]
    wanted = with_first_integer(b"5", lines) if form == "leading zeros" else lines
    found = predictor.predict_proba(forms(lines)[form])
    assert found.tolist() == predictor.predict_proba(wanted).tolist()
    assert found.shape == (rows,)


def test_one_row_needs_no_list(predictor: Predictor) -> None:
    wanted = predictor.predict_proba(LINES[:1]).tolist()
    for row in (LINES[0], LINES[0].decode(), LINES[0].decode() + "\n", as_dicts(LINES[:1])[0]):
        assert predictor.predict_proba(row).tolist() == wanted


def test_no_rows_no_probabilities(predictor: Predictor) -> None:
    for nothing in ([], (), as_frame(LINES[:1]).clear(), as_frame(LINES[:1]).to_pandas()[:0]):
        found = predictor.predict_proba(nothing)
        assert (found.dtype, found.shape) == (np.float32, (0,))


def test_more_rows_than_are_scored_at_once(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = predictor.predict_proba(LINES[:500])
    monkeypatch.setattr("criteo_stream.predict.predictor._ROWS_AT_ONCE", 70)
    for rows in (LINES[:500], as_dicts(LINES[:500]), as_frame(LINES[:500])):
        np.testing.assert_allclose(predictor.predict_proba(rows), wanted, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("model", MODELS)
def test_threads_share_one(place: Path, tmp_path: Path, model: str) -> None:
    fit(place / "data", tmp_path / "run", **WEIGHTS | {"model": model})
    asked = load(tmp_path / "run")
    parts = [LINES[i * 300 : i * 300 + size] for i, size in enumerate((1, 40, 300, 900))]
    wanted = [asked.predict_proba(part).tolist() for part in parts]
    found: list[list[bool]] = [[] for _ in parts]
    start = threading.Barrier(len(parts))

    def ask(number: int) -> None:
        start.wait()
        for _ in range(30):
            answer = asked.predict_proba(parts[number])
            close = np.allclose(answer, wanted[number], rtol=0, atol=CLOSE)
            found[number].append(bool(close))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[True] * 30] * len(parts)


def test_the_process_keeps_its_settings(place: Path) -> None:
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_rng_state().tolist()
    asked = load(place / "run-data")
    for count in (1, 2000):
        asked.predict_proba(LINES[:count])
    after = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_rng_state().tolist()
    assert after == before


def test_what_it_says_of_itself(place: Path, predictor: Predictor) -> None:
    from criteo_stream.data.manifest import Manifest

    manifest = Manifest.read(place / "data")
    assert predictor.model == "fm"
    assert predictor.step > 0
    assert predictor.data_fingerprint == manifest.fingerprint
    assert predictor.fit_fingerprint == manifest.fit_fingerprint
    assert manifest.fit_fingerprint in repr(predictor)


@pytest.mark.parametrize("file", ["quantiles", "C7"])
@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_damaged_fit_is_refused(place: Path, tmp_path: Path, file: str, harm: str) -> None:
    copy = shutil.copytree(place / "data", tmp_path / "data")
    path = DataFolder(copy).quantiles if file == "quantiles" else DataFolder(copy).vocabulary(file)
    if harm == "gone":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(DataSetError, match=path.name) as error:
        load(place / "run-data", copy)
    assert "\n" not in str(error.value)


def test_what_is_no_run_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError):
        load(tmp_path)
    with pytest.raises(UsageError, match="--device tpu is not known"):
        load(place / "run-data", device="tpu")  # type: ignore[arg-type]


class Sum(torch.nn.Module):
    """A model of a user's."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return embeddings.sum((1, 2))


def test_own_models_need_trust(place: Path, tmp_path: Path) -> None:
    name = f"{__name__}:Sum"
    fit(place / "data", tmp_path / "run", **WEIGHTS | {"model": name})
    with pytest.raises(RunError, match="--trust-model"):
        load(tmp_path / "run")
    wanted = predicted(
        tmp_path / "run", place / "rows.tsv", tmp_path / "p.parquet", trust_model=True
    )
    assert_answers(load(tmp_path / "run", trust_model=name), LINES, wanted)


def test_pandas_is_not_loaded(place: Path) -> None:
    code = (
        "import sys; from criteo_stream import load\n"
        f"load({str(place / 'run-data')!r}).predict_proba([{{'I1': 3}}])\n"
        "sys.exit('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False)
    assert done.returncode == 0


def test_a_frame_of_pandas_is_one_wherever_it_was_made(predictor: Predictor) -> None:
    class Own(pd.DataFrame):
        pass

    rows = Own(as_frame(LINES[:9]).to_pandas())
    wanted = predictor.predict_proba(LINES[:9])
    assert predictor.predict_proba(rows).tolist() == wanted.tolist()
