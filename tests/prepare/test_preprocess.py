import gzip
import json
import resource
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.preprocessing import QuantileTransformer

from criteo_stream.base.errors import DataSetError, InputError, OutputError, UsageError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, LABEL, SPLITS
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.data.manifest import Manifest, verify_file
from criteo_stream.data.order import LANES, Order
from criteo_stream.prepare.apply_fit import load_encoder
from criteo_stream.prepare.splits import HashedSplit
from criteo_stream.synthetic import write_synthetic
from tests.support.data_sets import content, prepare
from tests.support.paths import real_rows
from tests.support.raw_lines import (
    VALID_LINE,
    parse,
    raw_lines,
    reczoo_lines,
    with_field,
    write_raw,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

ROWS = 2600
LINES = raw_lines(ROWS, seed=11)
SMALL: dict[str, Any] = {"block_rows": 1000, "min_count": 2}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "log.tsv", LINES)


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "data"
    prepare(raw, out, **SMALL)
    return out


def read_split(out: Path, split: str) -> pl.DataFrame:
    manifest = Manifest.read(out)
    frames = [pl.read_parquet(out / entry.path) for entry in manifest.shards[split]]
    return pl.concat(frames) if frames else pl.DataFrame()


def plain_encoding(
    lines: list[bytes], training: list[bytes], min_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles float64 [n, 13] and ids int64 [n, 26], by the words of the design alone."""
    rows = [line.split(b"\t") for line in lines]
    fitted = [line.split(b"\t") for line in training]
    quantiles = np.full((len(rows), 13), np.nan)
    for i in range(13):
        values = sorted(int(row[1 + i]) for row in fitted if row[1 + i])
        cache = {text: mid_rank(values, int(text)) for text in {row[1 + i] for row in rows} if text}
        quantiles[:, i] = [cache.get(row[1 + i], np.nan) for row in rows]
    ids = np.zeros((len(rows), 26), np.int64)
    for i in range(26):
        counts = Counter(int(row[14 + i], 16) for row in fitted if row[14 + i])
        known = sorted((-n, value) for value, n in counts.items() if n >= min_count)
        vocabulary = {value: 2 + rank for rank, (_, value) in enumerate(known)}
        ids[:, i] = [vocabulary.get(int(r[14 + i], 16), 0) if r[14 + i] else 1 for r in rows]
    return quantiles, ids


def mid_rank(values: list[int], x: int) -> float:
    if x <= values[0]:
        return 0.0
    if x >= values[-1]:
        return 1.0
    return (bisect_left(values, x) + bisect_right(values, x) - 1) / 2 / (len(values) - 1)


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


def as_rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(frame.fill_nan(-1).rows())


def test_mixing_moves_rows_only_within_block_and_split(
    raw: Path, made: Path, tmp_path: Path
) -> None:
    prepare(raw, tmp_path / "ordered", keep_order=True, **SMALL)
    mixed, ordered = Manifest.read(made), Manifest.read(tmp_path / "ordered")
    assert mixed.fit_fingerprint == ordered.fit_fingerprint
    for split in SPLITS:
        assert len(mixed.shards[split]) == 3
        for a, b in zip(mixed.shards[split], ordered.shards[split], strict=True):
            one, other = (
                pl.read_parquet(made / a.path),
                pl.read_parquet(tmp_path / "ordered" / b.path),
            )
            assert as_rows(one) == as_rows(other)
            assert not one.equals(other)


def test_a_log_sorted_by_label_gives_every_lane_its_share_of_clicks(tmp_path: Path) -> None:
    rows = 40_000
    lines = sorted(raw_lines(4000, seed=4) * (rows // 4000))
    raw = write_raw(tmp_path / "sorted.tsv", lines)
    worst = {}
    for keep_order in (False, True):
        out = tmp_path / f"data-{keep_order}"
        manifest = prepare(raw, out, valid=0.0, test=0.0, keep_order=keep_order).manifest
        label = read_split(out, "train")[LABEL].to_numpy()
        size = manifest.row_group_rows
        groups = np.array([min(size, rows - start) for start in range(0, rows, size)])
        order = Order(group_rows=groups, batch_size=1024)
        share = label.mean()
        worst[keep_order] = 0.0
        for segments in order.plan(0, range(LANES)):
            lane = np.concatenate(
                [
                    size * s.group + order.rows_of_group(0, s.group)[s.start : s.stop]
                    for s in segments
                ]
            )
            n = len(lane)
            sigma = np.sqrt(n * share * (1 - share) * (rows - n) / (rows - 1))
            worst[keep_order] = max(worst[keep_order], abs(label[lane].sum() - n * share) / sigma)
    assert worst[False] <= 4 < worst[True]


def test_rows_are_conserved_and_files_are_what_the_manifest_says(made: Path) -> None:
    manifest = Manifest.read(made)
    rows = manifest.rows
    assert rows["read"] == ROWS
    assert rows["train"] + rows["valid"] + rows["test"] + rows["rejected"] == ROWS
    for split in SPLITS:
        assert sum(e.rows for e in manifest.shards[split]) == rows[split]
    for entry in manifest.files():
        verify_file(made, entry)
    listed = {entry.path for entry in manifest.files()} | {"manifest.json"}
    assert {str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()} == listed


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


@pytest.mark.parametrize(
    "variant",
    [{"workers": 1}, {"workers": 3, "memory": "4GB"}, {"workers": 2, "memory": 10**9}],
    ids=str,
)
def test_workers_and_memory_cannot_be_seen_in_the_set(
    raw: Path, made: Path, tmp_path: Path, variant: dict[str, Any]
) -> None:
    prepare(raw, tmp_path / "data", **SMALL, **variant)
    assert content(tmp_path / "data") == content(made)


@pytest.mark.parametrize("max_entries", [1, 1000])
def test_a_fit_in_many_parts_gives_the_same_set(
    raw: Path, made: Path, tmp_path: Path, max_entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_entry = 500_000_000 // max_entries
    monkeypatch.setattr("criteo_stream.prepare.memory_budget.MERGE_BYTES_PER_ENTRY", per_entry)
    prepare(raw, tmp_path / "data", workers=1, **SMALL)
    assert content(tmp_path / "data") == content(made)


@pytest.fixture
def few_open_files() -> Iterator[None]:
    """Hardly more files may be open than are."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 80
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, limits[0]), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("few_open_files")
def test_a_set_of_more_blocks_than_files_may_be_open(raw: Path, tmp_path: Path) -> None:
    prepare(raw, tmp_path / "data", **SMALL | {"block_rows": 20})
    manifest = Manifest.read(tmp_path / "data")
    assert len(manifest.shards["train"]) == ROWS / 20
    batches = CriteoLoader(CriteoDataset(tmp_path / "data", "train", 64), workers=1)
    assert sum(len(label) for _, label in batches) == manifest.rows["train"]


@pytest.mark.parametrize("kind", ["gz", "zst", "crlf", "no last newline", "small chunks"])
def test_the_form_of_the_input_cannot_be_seen_in_the_set(
    made: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"".join(line + b"\n" for line in LINES)
    path = tmp_path / "log.tsv"
    if kind == "gz":
        path = tmp_path / "log.tsv.gz"
        path.write_bytes(gzip.compress(text))
    elif kind == "zst":
        path = tmp_path / "log.tsv.zst"
        path.write_bytes(pa.Codec("zstd").compress(text, asbytes=True))
    elif kind == "small chunks":
        monkeypatch.setattr("criteo_stream.prepare.chunks.CHUNK_BYTES", 5000)
        path.write_bytes(text)
    else:
        path.write_bytes(text.replace(b"\n", b"\r\n") if kind == "crlf" else text[:-1])
    prepare(path, tmp_path / "data", **SMALL)
    found, expected = (content(out, same_inputs=False) for out in (tmp_path / "data", made))
    if kind == "crlf":  # the checksum of the text itself differs
        for manifest in (found["manifest.json"], expected["manifest.json"]):
            assert isinstance(manifest, dict)
            del manifest["inputs"]
    assert found == expected


def test_reczoo_rows_give_the_shards_of_the_raw_ones(made: Path, tmp_path: Path) -> None:
    lines = reczoo_lines(LINES)
    path = tmp_path / "log.tsv.gz"
    path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines)))
    result = prepare(path, tmp_path / "data", **SMALL)
    assert (result.manifest.layout, result.manifest.rows["read"]) == ("reczoo", ROWS)
    expected, found = content(made), content(tmp_path / "data")
    del expected["manifest.json"], found["manifest.json"]
    assert found == expected
    lines[3] = with_field(4, b"x", LINES[2]).replace(b"\t", b",")
    bad = write_raw(tmp_path / "bad.csv", lines)
    with pytest.raises(InputError, match=r"bad\.csv, line 4: I4 is 'x', expected an integer"):
        prepare(bad, tmp_path / "bad", **SMALL)


def test_inputs_of_several_files_are_read_in_natural_order(tmp_path: Path) -> None:
    lines = raw_lines(900, seed=6)
    for i in (10, 9, 2):
        write_raw(tmp_path / f"part_{i}", lines[300 * [2, 9, 10].index(i) :][:300])
    manifest = prepare(
        tmp_path, tmp_path.parent / "several", keep_order=True, valid=0.0, test=0.0, min_count=1
    ).manifest
    assert [(i.name, i.rows) for i in manifest.inputs] == [
        ("part_2", 300), ("part_9", 300), ("part_10", 300)
    ]  # fmt: skip
    label = read_split(tmp_path.parent / "several", "train")[LABEL]
    assert label.to_list() == [int(line[:1]) for line in lines]


def test_whole_files_as_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    sizes = {"a_1": 300, "a_2": 200, "b_1": 150, "c_1": 100}
    for seed, (name, size) in enumerate(sizes.items()):
        write_raw(tmp_path / "raw" / name, raw_lines(size, seed=seed))
    # The folder names all files, by another spelling than the globs do.
    options: dict[str, Any] = {
        "valid_files": ("raw/b_*",),
        "test_files": (str(tmp_path / "raw/c_1"),),
    }
    manifest = prepare(tmp_path / "raw", tmp_path / "data", min_count=1, **options).manifest
    assert {s: manifest.rows[s] for s in SPLITS} == {"train": 500, "valid": 150, "test": 100}
    with pytest.raises(UsageError, match="b_1 is named by both --valid-files and --test-files"):
        prepare("raw", tmp_path / "x", valid_files=("raw/b_1",), test_files=("raw/*_1",))
    with pytest.raises(InputError, match="no such input: raw/d"):
        prepare("raw", tmp_path / "x", valid_files=("raw/d",))


def test_tail_split_is_in_time_order_over_inputs(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    lines = raw_lines(1000, seed=3)
    write_raw(tmp_path / "raw" / "day_2", lines[:350])
    write_raw(tmp_path / "raw" / "day_10", lines[350:])
    options: dict[str, Any] = {"split": "tail", "valid": 0.2, "test": 0.1, "keep_order": True}
    prepare(tmp_path / "raw", tmp_path / "data", block_rows=130, min_count=1, **options)
    labels = [read_split(tmp_path / "data", split)[LABEL].to_list() for split in SPLITS]
    expected = [int(line[:1]) for line in lines]
    assert labels == [expected[:700], expected[700:900], expected[900:]]


def test_terabyte_split_halves_the_last_day(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for day, rows in ((2, 50), (9, 60), (10, 41)):
        write_raw(tmp_path / "raw" / f"day_{day}", raw_lines(rows, seed=day))
    result = prepare(tmp_path / "raw", tmp_path / "data", split="terabyte", min_count=1)
    assert result.manifest.layout == "terabyte"
    assert result.manifest.rows == {
        "train": 110, "valid": 20, "test": 21, "rejected": 0, "read": 151
    }  # fmt: skip
    assert len(result.warnings) == 3
    assert "day_2 has 50 lines, the complete day has 196,792,019" in result.warnings[0]
    with pytest.raises(UsageError, match=r"--split terabyte needs inputs named day_0"):
        prepare(write_raw(tmp_path / "log.tsv", LINES[:10]), tmp_path / "x", split="terabyte")


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
    with pytest.raises(DataSetError, match="not a complete data set"):
        prepare(raw, tmp_path / "x", fit_from=str(tmp_path))


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


@pytest.mark.parametrize("options", [{"valid": 0.0, "test": 0.0}, {"valid": 0.9, "test": 0.05}])
def test_splits_may_be_empty_or_small(tmp_path: Path, options: dict[str, Any]) -> None:
    raw = write_raw(tmp_path / "log.tsv", raw_lines(40))
    manifest = prepare(raw, tmp_path / "data", block_rows=7, min_count=1, **options).manifest
    assert sum(manifest.rows[s] for s in SPLITS) == 40
    for split in SPLITS:
        assert all(entry.rows for entry in manifest.shards[split])


def test_malformed_lines_are_counted_kept_and_limited(tmp_path: Path) -> None:
    lines = raw_lines(400)
    bad = {57: b"", 123: b"nonsense", 399: with_field(3, b"1.0")}
    for number, line in bad.items():
        lines[number - 1] = line
    raw = write_raw(tmp_path / "log.tsv", lines)
    options: dict[str, Any] = {"min_count": 1, "block_rows": 100}
    with pytest.raises(InputError, match=r"log\.tsv, line 57: the line is blank .1 malformed"):
        prepare(raw, tmp_path / "data", **options)
    with pytest.raises(InputError, match=r"line 399: I3 is '1\.0'.*--max-bad-rows is 2"):
        prepare(raw, tmp_path / "data", max_bad_rows=2, **options)
    result = prepare(raw, tmp_path / "data", max_bad_rows=3, **options)
    assert result.resumed
    rows = result.manifest.rows
    assert (rows["rejected"], rows["read"]) == (3, 400)
    assert rows["train"] + rows["valid"] + rows["test"] == 397
    kept = [json.loads(x) for x in (tmp_path / "data/rejected.jsonl").read_text().splitlines()]
    assert [(r["file"], r["line"]) for r in kept] == [(str(raw), n) for n in bad]
    # The rows beside them keep their place and split.
    codes = HashedSplit(seed=0, name="log.tsv", valid=0.1, test=0.1).codes(np.arange(400) + 1)
    good = np.array([i + 1 not in bad for i in range(400)])
    assert rows["test"] == np.count_nonzero(codes[good] == 2)


def test_short_lines_stop_the_run_unless_they_are_padded(tmp_path: Path) -> None:
    whole = raw_lines(300, seed=8)
    raw = write_raw(tmp_path / "log.tsv", [line.rstrip(b"\t") for line in whole])
    with pytest.raises(InputError, match=r"line \d+: 39 fields .* lost its trailing tabs .*pad"):
        prepare(raw, tmp_path / "data")
    prepare(raw, tmp_path / "padded", short_lines="pad", min_count=1)
    (tmp_path / "whole").mkdir()
    prepare(write_raw(tmp_path / "whole/log.tsv", whole), tmp_path / "true", min_count=1)
    for split in SPLITS:
        assert read_split(tmp_path / "padded", split).equals(read_split(tmp_path / "true", split))


def test_the_trouble_with_an_input_is_one_sentence(tmp_path: Path) -> None:
    lines = raw_lines(50)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"no such input: .*gone\.tsv"):
        prepare(tmp_path / "gone.tsv", out)
    (tmp_path / "empty.tsv").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.tsv is empty"):
        prepare(tmp_path / "empty.tsv", out)
    (tmp_path / "other.tsv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a Criteo click log"):
        prepare(tmp_path / "other.tsv", out)
    unlabelled = [line.split(b"\t", 1)[1] for line in lines]
    with pytest.raises(InputError, match="has no label column"):
        prepare(write_raw(tmp_path / "test.txt", unlabelled), out)
    assert not out.exists()
    raw = write_raw(tmp_path / "log.tsv", [VALID_LINE])
    with pytest.raises(InputError, match="no row is in the training split"):
        prepare(raw, out, valid_files=(str(raw),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "last"}, "--split last is not known"),
        ({"valid": 1.0}, "--valid is 1.0"),
        ({"test": -0.1}, "--test is -0.1"),
        ({"valid": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"min_count": 0}, "--min-count is 0"),
        ({"max_vocabulary": 0}, "--max-vocabulary is 0"),
        ({"short_lines": "mend"}, "--short-lines mend is not known"),
        ({"memory": "900MB"}, "needs at least 1 GB"),
        ({"memory": "lots"}, "'lots' is not a size"),
        ({"workers": 0}, "--workers is 0"),
        ({"split": "tail", "test_files": ("x",)}, "exclude --split tail"),
        ({"layout": "csv"}, "--layout csv is not known"),
        ({"block_rows": 2**21}, "block_rows is 2097152"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(
    raw: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(raw, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_with_other_files_is_left_alone(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for restart in (False, True):
        with pytest.raises(OutputError, match=r"not empty and holds no data set .found notes"):
            prepare(raw, tmp_path, restart=restart)
    with pytest.raises(OutputError, match="exists and is not a folder"):
        prepare(raw, tmp_path / "notes.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_progress_and_figures_are_told(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = prepare(raw, tmp_path / "data", quiet=False, **SMALL)
    told = capsys.readouterr().err
    assert "about 2,6" in told
    assert f"read: {ROWS:,} of" in told
    assert f"encode: {ROWS:,} of {ROWS:,} rows" in told
    figures = result.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert set(figures["stages"]) == {"read", "fit", "encode"}
    assert figures["rows"]["read"] == ROWS
    assert figures["peak_memory_bytes"] > 10**7
    assert not result.resumed
    prepare(raw, tmp_path / "data", quiet=False, **SMALL)
    assert capsys.readouterr().err.endswith("data is already finished\n")


MEASURED = """
import json, sys
from criteo_stream.prepare import preprocess
result = preprocess(sys.argv[1], sys.argv[2], memory="1GB", min_count=1, quiet=True)
print(json.dumps(result.to_dict()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1_000_000, 4_000_000])
def test_memory_stays_within_the_budget_however_many_rows(tmp_path: Path, rows: int) -> None:
    raw = tmp_path / "log.tsv"
    write_synthetic(raw, rows)
    command = [sys.executable, "-c", MEASURED, str(raw), str(tmp_path / "data")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures = json.loads(done.stdout)
    assert figures["rows"]["read"] == rows
    assert figures["peak_memory_bytes"] <= 1.1e9
    shards = [e for s in Manifest.read(tmp_path / "data").shards.values() for e in s]
    assert sum(e.bytes for e in shards) <= 110 * rows
