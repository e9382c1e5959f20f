"""Rows in a program are encoded as rows of files are, to the bit."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.manifest import Manifest
from criteo_stream.predict.row_encoder import MISSING_VALUE, RowEncoder
from criteo_stream.prepare.apply_fit import load_encoder
from tests.support.data_sets import prepare
from tests.support.raw_lines import raw_lines, with_field, write_raw


def lines(number: int, rows: int) -> list[bytes]:
    """I1 has one value, I2 none, I3 the ends of its type; C1 has no known value, C2 no value."""
    found = []
    for row, line in enumerate(raw_lines(rows, seed=number)):
        ends = [b"-2147483648", b"2147483647", b"0", b""][row % 4]
        changed = {1: b"7", 2: b"", 3: ends, 14: b"%08x" % (row * 77_777), 15: b""}
        for field, value in changed.items():
            line = with_field(field, value, line)
        found.append(line)
    return found


@pytest.mark.parametrize("extended", [False, True])
def test_encoded_as_in_files(tmp_path: Path, extended: bool) -> None:
    data = tmp_path / "data"
    prepare(write_raw(tmp_path / "log.tsv", lines(1, 900)), data, min_count=2)
    if extended:
        newer = write_raw(tmp_path / "newer.tsv", lines(2, 700))
        prepare(newer, tmp_path / "extended", extend=data)
        data = tmp_path / "extended"
    manifest = Manifest.read(data)
    known = pl.read_parquet(data / "vocabulary" / "C4.parquet")["value"].to_numpy()
    random = np.random.default_rng(3)
    rows = 20_000
    values = np.empty((rows, 39), np.int64)
    for i in range(13):  # near zero, and anywhere
        near = random.integers(-5, 300, rows)
        far = random.integers(-(2**31), 2**31, rows)
        values[:, i] = np.where(random.random(rows) < 0.7, near, far)
    values[:5, :13] = np.array([-(2**31), 2**31 - 1, 6, 7, 8])[:, None]
    values[:, 13:] = random.integers(0, 2**32, (rows, 26))
    values[:, 16] = random.choice(known, rows)
    values[:2, 13:] = np.array([0, 2**32 - 1])[:, None]
    values[random.random((rows, 39)) < 0.2] = MISSING_VALUE

    types = dict.fromkeys(INTEGER_COLUMNS, pl.Int32) | dict.fromkeys(CATEGORICAL_COLUMNS, pl.UInt32)
    frame = pl.DataFrame(values, schema=list(FEATURE_COLUMNS), orient="row")
    frame = frame.select(
        pl.when(pl.col(c) != MISSING_VALUE).then(pl.col(c)).cast(types[c]) for c in types
    )
    usual = load_encoder(data, manifest)
    numeric, categorical = RowEncoder(data, manifest)(values)
    assert numeric.dtype == np.float32
    assert categorical.dtype == np.int32
    wanted = np.stack(usual.numeric(frame), axis=1)
    np.testing.assert_array_equal(numeric, wanted)
    np.testing.assert_array_equal(categorical, np.stack(usual.categorical(frame), axis=1))
    assert (categorical[:, 3] >= 2).sum() > rows / 2
    assert len(np.unique(numeric[:, 1][~np.isnan(numeric[:, 1])])) == 1
