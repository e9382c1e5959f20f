"""Whole preparations: what can be seen in the set, what is told, what is refused."""

import gzip
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from criteo_stream.base.errors import InputError, OutputError
from criteo_stream.base.schema import LABEL, SPLITS
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.folder import MANIFEST_NAME, DataFolder
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.data.manifest import Manifest, verify_file
from criteo_stream.data.order import LANES, Order
from criteo_stream.prepare.splits import HashedSplit
from criteo_stream.synthetic import write_synthetic
from tests.prepare.small_log import LINES, ROWS, SMALL
from tests.support.data_sets import content, prepare, read_split
from tests.support.raw_lines import (
    VALID_LINE,
    raw_lines,
    reczoo_lines,
    with_field,
    write_raw,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


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
    listed = {entry.path for entry in manifest.files()} | {MANIFEST_NAME}
    assert {str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()} == listed


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
    per_entry = 440_000_000 // max_entries
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
        monkeypatch.setattr("criteo_stream.raw.chunks.CHUNK_BYTES", 5000)
        path.write_bytes(text)
    else:
        path.write_bytes(text.replace(b"\n", b"\r\n") if kind == "crlf" else text[:-1])
    prepare(path, tmp_path / "data", **SMALL)
    found, expected = (content(out, same_inputs=False) for out in (tmp_path / "data", made))
    if kind == "crlf":  # the checksum of the text itself differs
        for manifest in (found[MANIFEST_NAME], expected[MANIFEST_NAME]):
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
    del expected[MANIFEST_NAME], found[MANIFEST_NAME]
    assert found == expected
    lines[3] = with_field(4, b"x", LINES[2]).replace(b"\t", b",")
    bad = write_raw(tmp_path / "bad.csv", lines)
    with pytest.raises(InputError, match=r"bad\.csv, line 4: I4 is 'x', expected an integer"):
        prepare(bad, tmp_path / "bad", **SMALL)


def test_malformed_lines_are_counted_kept_and_limited(tmp_path: Path) -> None:
    lines = raw_lines(400)
    bad = {57: b"", 123: b"nonsense", 399: with_field(3, b"1.0")}
    for number, line in bad.items():
        lines[number - 1] = line
    raw = write_raw(tmp_path / "log.tsv", lines)
    options: dict[str, Any] = {"min_count": 1, "block_rows": 100}
    with pytest.raises(InputError, match=r"log\.tsv, line 57: the line is blank .1 malformed"):
        prepare(raw, tmp_path / "data", **options)
    with pytest.raises(
        InputError, match=r"line 57: the line is blank .3 malformed.*--max-bad-rows is 2"
    ):
        prepare(raw, tmp_path / "data", max_bad_rows=2, **options)
    result = prepare(raw, tmp_path / "data", max_bad_rows=3, **options)
    assert result.resumed
    rows = result.manifest.rows
    assert (rows["rejected"], rows["read"]) == (3, 400)
    assert rows["train"] + rows["valid"] + rows["test"] == 397
    kept = [json.loads(x) for x in DataFolder(tmp_path / "data").rejected.read_text().splitlines()]
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
from criteo_stream.prepare.pipeline import preprocess
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
