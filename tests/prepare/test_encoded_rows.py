"""Sets are what the design says they are: compared with an encoding by its words alone."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.preprocessing import QuantileTransformer

from criteo_stream.base.errors import DataSetError, UsageError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, LABEL, SPLITS
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.apply_fit import load_encoder
from criteo_stream.prepare.splits import HashedSplit
from tests.prepare.small_log import LINES, ROWS, SMALL
from tests.support.data_sets import content, prepare, read_split
from tests.support.paths import real_rows
from tests.support.plain_encoding import plain_encoding
from tests.support.raw_lines import parse, raw_lines, with_field, write_raw

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def check_against_plain_encoding(raw: Path, out: Path, lines: list[bytes]) -> None:
    options = {"min_count": 10, "valid": 0.1, "test": 0.2, "keep_order": True}
    manifest = prepare(raw, out, **options).manifest
    name = raw.name.removesuffix(".gz")
    codes = HashedSplit(seed=0, name=name, valid=0.1, test=0.2).codes(np.arange(len(lines)) + 1)
    training = [line for line, code in zip(lines, codes, strict=True) if code == 0]
    quantiles, ids = plain_encoding(lines, training, 10)
    labels = np.array([int(line[:1]) for line in lines])
    for code, split in enumerate(SPLITS):
        frame = read_split(out, split)
        assert manifest.rows[split] == frame.height == np.count_nonzero(codes == code)
        assert [e.positives for e in manifest.shards[split]] == [labels[codes == code].sum()]
        np.testing.assert_array_equal(frame[LABEL], labels[codes == code])
        numeric = frame.select(INTEGER_COLUMNS).to_numpy()
        np.testing.assert_allclose(numeric, quantiles[codes == code], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(
            frame.select(CATEGORICAL_COLUMNS).to_numpy(), ids[codes == code]
        )
    check_against_scikit_learn(training, read_split(out, "train"))
    for i, facts in enumerate(manifest.numeric):
        values = [int(row[1 + i]) for row in (t.split(b"\t") for t in training) if row[1 + i]]
        assert facts.missing == len(training) - len(values)
        assert (facts.minimum, facts.maximum) == (min(values), max(values))
        assert facts.distinct == len(set(values))
        assert facts.mean == pytest.approx(sum(values) / len(values), rel=1e-12)
        assert facts.rank_error == 0
    train_ids = ids[codes == 0]
    for i, column in enumerate(manifest.categorical):
        assert column.ids == max(2, train_ids[:, i].max() + 1)
        assert column.missing == np.count_nonzero(train_ids[:, i] == 1)
        assert column.oov == np.count_nonzero(train_ids[:, i] == 0)


def check_against_scikit_learn(training: list[bytes], frame: pl.DataFrame) -> None:
    rows = [line.split(b"\t", 14)[1:14] for line in training]
    for i, column in enumerate(INTEGER_COLUMNS):
        present = np.array([bool(row[i]) for row in rows])
        values = np.array([[float(row[i])] for row in rows if row[i]])
        found = frame[column].to_numpy()[present]
        if len(values) < 10_000:  # its percentiles take seconds a column beyond
            theirs = QuantileTransformer(n_quantiles=len(values), subsample=None)
            # They fall beside the values by a rounding error, which costs half a rank of ties.
            expected = theirs.fit_transform(values)[:, 0]
            np.testing.assert_allclose(found, expected, rtol=0, atol=0.5 / (len(values) - 1) + 1e-6)
        # With the values in place of the percentiles it gives the very same.
        theirs = QuantileTransformer(n_quantiles=2, subsample=None).fit(values)
        theirs.quantiles_ = np.sort(values, axis=0)
        theirs.references_ = np.linspace(0, 1, len(values))
        expected = theirs.transform(values)[:, 0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_real_kaggle_rows_equal_a_plain_encoding(tmp_path: Path) -> None:
    raw = real_rows("criteo_kaggle_dev.tsv.gz")
    lines = gzip.decompress(raw.read_bytes()).split(b"\n")[:-1]
    check_against_plain_encoding(raw, tmp_path / "data", lines)


def test_real_terabyte_rows_equal_a_plain_encoding(tmp_path: Path) -> None:
    raw = real_rows("criteo_1tb_day0_dev.tsv.gz")
    lines = gzip.decompress(raw.read_bytes()).split(b"\n")[:-1]
    check_against_plain_encoding(raw, tmp_path / "data", lines)


def test_made_up_rows_equal_a_plain_encoding(tmp_path: Path) -> None:
    lines = raw_lines(3000, seed=2)
    raw = write_raw(tmp_path / "log.tsv", lines)
    check_against_plain_encoding(raw, tmp_path / "data", lines)


def test_the_fit_sees_training_rows_only(raw: Path, made: Path) -> None:
    """What is in other splits may change at will: ids and quantiles stay."""
    codes = HashedSplit(seed=0, name="log.tsv", valid=0.1, test=0.1).codes(np.arange(ROWS) + 1)
    changed = [
        line if code == 0 else with_field(1, b"2000000000", with_field(14, b"deadbeef", line))
        for line, code in zip(LINES, codes, strict=True)
    ]
    other = made.parent / "changed"
    other.mkdir()
    write_raw(other / "log.tsv", changed)
    manifest = prepare(other / "log.tsv", other / "data", **SMALL).manifest
    assert manifest.fit_fingerprint == Manifest.read(made).fit_fingerprint
    assert manifest.numeric == Manifest.read(made).numeric
    test = read_split(other / "data", "test")
    assert set(test["I1"]) == {1.0}  # beyond the fitted maximum
    assert set(test["C1"]) == {0}  # never seen in training


def test_encoding_with_the_fit_of_another_set(made: Path, tmp_path: Path) -> None:
    fresh = [with_field(14, b"deadbeef", line) for line in raw_lines(500, seed=99)]
    raw = write_raw(tmp_path / "fresh.tsv", fresh)
    manifest = prepare(raw, tmp_path / "data", fit_from=str(made), keep_order=True).manifest
    fitted = Manifest.read(made)
    assert manifest.rows["test"] == 500  # all of them, where no fractions are given
    assert manifest.fit_fingerprint == fitted.fit_fingerprint
    assert (manifest.numeric, manifest.categorical) == (fitted.numeric, fitted.categorical)
    frame = read_split(tmp_path / "data", "test")
    assert set(frame["C1"]) == {0}
    codes = HashedSplit(seed=0, name="log.tsv", valid=0.1, test=0.1).codes(np.arange(ROWS) + 1)
    training = [line for line, code in zip(LINES, codes, strict=True) if code == 0]
    quantiles, ids = plain_encoding(fresh, training, 2)
    np.testing.assert_array_equal(frame.select(CATEGORICAL_COLUMNS).to_numpy(), ids)
    numeric = frame.select(INTEGER_COLUMNS).to_numpy()
    np.testing.assert_allclose(numeric, quantiles, rtol=0, atol=1e-6)
    # With fractions, they hold.
    split = prepare(raw, tmp_path / "split", fit_from=str(made), valid=0.5, test=0.0).manifest
    assert split.rows["valid"] > 150 < split.rows["train"]
    with pytest.raises(DataSetError, match="does not exist: check the path"):
        prepare(raw, tmp_path / "x", fit_from=str(tmp_path / "nothing"))


def test_a_set_cannot_take_its_own_fit(raw: Path, made: Path) -> None:
    before = content(made)
    with pytest.raises(UsageError, match="--fit-from"):
        prepare(raw, made, fit_from=str(made), restart=True)
    assert content(made) == before


def test_rows_encoded_for_prediction_are_those_of_the_shards(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    manifest = prepare(raw, out, keep_order=True, valid=0.0, test=0.0, min_count=2).manifest
    encoder = load_encoder(out, manifest)
    frame = parse(raw.read_bytes()).frame
    shard = read_split(out, "train")
    for name, column in zip(INTEGER_COLUMNS, encoder.numeric(frame), strict=True):
        np.testing.assert_array_equal(column, shard[name].to_numpy())
    for name, column in zip(CATEGORICAL_COLUMNS, encoder.categorical(frame), strict=True):
        np.testing.assert_array_equal(column, shard[name].to_numpy())


def test_max_vocabulary_keeps_the_most_frequent(raw: Path, tmp_path: Path) -> None:
    manifest = prepare(raw, tmp_path / "data", min_count=1, max_vocabulary=5).manifest
    assert max(manifest.categories) == 7
    for split in SPLITS:
        ids = read_split(tmp_path / "data", split).select(CATEGORICAL_COLUMNS).to_numpy()
        assert ids.max() < 7


def test_columns_without_any_value(tmp_path: Path) -> None:
    lines = [with_field(1, b"", with_field(14, b"", line)) for line in raw_lines(300)]
    raw = write_raw(tmp_path / "log.tsv", lines)
    manifest = prepare(raw, tmp_path / "data", min_count=1, valid=0.0, test=0.2).manifest
    facts = manifest.numeric[0]
    assert (facts.distinct, facts.mean, facts.minimum, facts.mean_quantile) == (0, None, None, 0.5)
    assert manifest.categorical[0].ids == 2
    train = read_split(tmp_path / "data", "train")
    assert train["I1"].is_nan().all()
    assert set(train["C1"]) == {1}
