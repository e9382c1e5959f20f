"""Synthetic logs as files: the same lines in any form, and a truth that is true."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import LABEL
from criteo_stream.synthetic import CHUNK_ROWS, write_synthetic
from tests.support.paths import REPOSITORY
from tests.synthetic.test_rows import read_frame, text

# --- the truth and the files ---


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    returned = write_synthetic(
        folder / "rows.tsv",
        CHUNK_ROWS + 1000,
        seed=4,
        probabilities=folder / "p.parquet",
        truth=folder / "truth.json",
    )
    assert json.loads((folder / "truth.json").read_text()) == returned
    return folder


def test_truth_is_that_of_the_probabilities(written: Path) -> None:
    truth = json.loads((written / "truth.json").read_text())
    labels = read_frame(written / "rows.tsv")[LABEL].to_numpy()
    table = pq.read_table(written / "p.parquet")
    p = table["probability"].to_numpy()
    assert table.schema.field("row").type == pa.int64()
    assert p.dtype == np.float32
    assert np.array_equal(table["row"].to_numpy(), np.arange(len(labels)))
    assert (truth["rows"], truth["positives"]) == (len(labels), labels.sum())
    assert truth["click_rate"] == labels.mean()
    assert truth["auc"] == pytest.approx(roc_auc_score(labels, p), abs=1e-9)
    assert truth["log_loss"] == pytest.approx(log_loss(labels, p.astype(np.float64)), abs=1e-7)
    assert truth["expected_click_rate"] == pytest.approx(p.mean(dtype=np.float64), abs=1e-7)
    entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p)).mean(dtype=np.float64)
    assert truth["expected_log_loss"] == pytest.approx(entropy, abs=1e-6)


def test_probabilities_are_calibrated_and_within_the_stated_range(written: Path) -> None:
    truth = json.loads((written / "truth.json").read_text())
    assert 0.80 < truth["auc"] < 0.82
    labels = read_frame(written / "rows.tsv")[LABEL].to_numpy()
    p = pq.read_table(written / "p.parquet")["probability"].to_numpy()
    for part in np.array_split(np.argsort(p), 20):
        deviation = np.sqrt((p[part] * (1 - p[part])).sum())
        assert abs(labels[part].sum() - p[part].sum()) < 4.5 * deviation


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_hold_the_same_lines_and_repeat(tmp_path: Path, suffix: str) -> None:
    contents = set()
    for name in ("one", "two"):
        path = tmp_path / f"{name}.tsv{suffix}"
        write_synthetic(path, 2000, seed=6)
        contents.add(path.read_bytes())
        with pa.input_stream(str(path), compression="detect") as stream:
            assert stream.read() == text(2000, seed=6)
    assert len(contents) == 1


def test_progress_counts_every_row(tmp_path: Path) -> None:
    steps: list[int] = []
    write_synthetic(tmp_path / "rows.tsv", CHUNK_ROWS + 1, progress=steps.append)
    assert steps == [CHUNK_ROWS, 1]


def test_figures_without_meaning_are_none(tmp_path: Path) -> None:
    truth = write_synthetic(tmp_path / "rows.tsv", 0)
    assert (truth["rows"], truth["auc"], truth["log_loss"]) == (0, None, None)
    assert (tmp_path / "rows.tsv").read_bytes() == b""


def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    for options in ({"layout": "avazu"}, {"layout": "terabyte", "labelled": False}, {"seed": -1}):
        with pytest.raises(UsageError):
            write_synthetic(tmp_path / "rows.tsv", 10, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="does not exist"):
        write_synthetic(tmp_path / "absent" / "rows.tsv", 10)
    assert not list(tmp_path.iterdir())


# --- the tool ---


def run_tool(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tools.synthesize", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, cwd=REPOSITORY, timeout=60, check=False)


def test_tool_writes_lines_and_truth(tmp_path: Path) -> None:
    result = run_tool("--rows", "1k", "--seed", "9", "--out", tmp_path / "train.tsv.gz")
    assert result.returncode == 0, result.stderr
    with gzip.open(tmp_path / "train.tsv.gz") as file:
        assert file.read() == text(1000, seed=9)
    assert json.loads((tmp_path / "train.tsv.truth.json").read_text())["rows"] == 1000


def test_tool_writes_to_stdout_and_explains_errors() -> None:
    assert run_tool("--rows", "10", "--seed", "9", "--out", "-").stdout == text(10, seed=9)
    refused = run_tool("--rows", "many", "--out", "-")
    assert refused.returncode == 2
    assert b"error: 'many' is not a number of rows" in refused.stderr


def test_torch_is_not_imported() -> None:
    code = "import sys, tools.synthesize; sys.exit('torch' in sys.modules)"
    root = REPOSITORY
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
