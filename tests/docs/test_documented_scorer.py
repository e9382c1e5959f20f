"""The scorer in NumPy that the documents show, for each way of reading integers."""

import re
from pathlib import Path

import pytest

from criteo_stream import export_run, predict_run
from tests.support import processes
from tests.support.data_sets import prepare
from tests.support.paths import REPOSITORY
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.training import fit


@pytest.mark.parametrize("numeric", ["value", "bins", "both"])
def test_the_scorer_equals_predict(tmp_path: Path, numeric: str) -> None:
    raw = write_raw(tmp_path / "train.txt", raw_lines(2000, seed=2))
    prepare(raw, tmp_path / "data", min_count=2)
    fit(tmp_path / "data", tmp_path / "run", numeric=numeric, init_scale=0.1, epochs=3)
    export_run(tmp_path / "run", "safetensors", tmp_path / "exported")
    predict_run(tmp_path / "run", raw, tmp_path / "predictions.parquet", quiet=True)
    text = (REPOSITORY / "docs" / "export.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    done = processes.run_code(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"largest difference: \S+\n", done.stdout)
