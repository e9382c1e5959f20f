"""Raw lines to a file of predictions: ids, order, streams, and what was left out."""

import bz2
import gzip
import io
import json
import lzma
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from criteo_stream import TrainConfig, Trainer, predict_run
from criteo_stream.base.errors import InputError, OutputError, UsageError
from criteo_stream.cli.predict import FORMATS
from criteo_stream.predict import prediction_file
from tests.support.archives import ARCHIVES
from tests.support.data_sets import prepare
from tests.support.raw_lines import (
    VALID_LINE,
    kaggle_csv_lines,
    raw_lines,
    reczoo_lines,
    unlabelled,
    write_raw,
)

LINES = raw_lines(300, seed=4)
TAB_HEADER = reczoo_lines([])[0].replace(b",", b"\t")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    prepare(write_raw(folder / "log.tsv", raw_lines(600)), folder / "data", min_count=2)
    config = TrainConfig(embedding_dim=2, bins=4, batch_size=64, epochs=1)
    Trainer(folder / "data", folder / "run", config, quiet=True).fit()
    return folder / "run"


@pytest.fixture
def expected(run: Path, tmp_path: Path) -> pl.DataFrame:
    return scored(run, [write_raw(tmp_path / "expected.tsv", LINES)], tmp_path / "expected.parquet")


def scored(run: Path, raw: list[str | Path], out: Path, **options: int) -> pl.DataFrame:
    found = predict_run(run, raw, out, quiet=True, **options)
    frame = pl.read_csv(out) if out.suffix == ".csv" else pl.read_parquet(out)
    assert frame.height == found.rows
    return frame


def test_ids_are_kept(run: Path, tmp_path: Path, expected: pl.DataFrame) -> None:
    for label, names in ((b"Label,", ["row", "Id", "probability", "label"]), (b"", None)):
        raw = write_raw(tmp_path / "k.csv", kaggle_csv_lines(LINES, label=label))
        for name in ("p.parquet", "p.csv"):
            for _ in range(2):  # earlier predictions with ids are replaced
                frame = scored(run, [raw], tmp_path / name)
            assert frame.columns == (names or ["row", "Id", "probability"])
            assert frame["Id"].to_list() == list(range(10**7, 10**7 + 300))
            assert frame["row"].to_list() == expected["row"].to_list()
        parquet = pl.read_parquet(tmp_path / "p.parquet")
        assert parquet["probability"].equals(expected["probability"])


def test_rows_are_numbered_through_the_inputs_as_they_are_named(
    run: Path, tmp_path: Path, expected: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    second = write_raw(tmp_path / "second.tsv", LINES[100:])
    first = write_raw(tmp_path / "z_first.tsv", LINES[:100])
    third = write_raw(tmp_path / "a_third.tsv", LINES[:5])
    predict_run(run, [first, second, third], tmp_path / "p.parquet")
    assert f"in this order: {first}, {second}, {third}" in capsys.readouterr().err
    found = pl.read_parquet(tmp_path / "p.parquet")
    # In the last bit a logit depends on the size of the batch.
    assert found["probability"][:300].to_list() == pytest.approx(expected["probability"].to_list())
    assert found["label"][:300].equals(expected["label"])
    assert found["row"].to_list() == list(range(305))


@pytest.mark.parametrize("form", ["plain", "gzip", "bzip2", "xz", "header"])
@pytest.mark.parametrize("name", ["-", "fifo"])
def test_a_stream_is_read_once(
    run: Path,
    tmp_path: Path,
    expected: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    form: str,
) -> None:
    lines = reczoo_lines(LINES) if form == "header" else LINES
    content = b"".join(line + b"\n" for line in lines)
    compress = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
    content = compress.get(form, bytes)(content)
    writer = None
    if name == "-":
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    else:
        os.mkfifo(tmp_path / name)
        writer = threading.Thread(target=(tmp_path / name).write_bytes, args=(content,))
        writer.start()
    found = scored(run, [name if name == "-" else tmp_path / name], tmp_path / "p.parquet")
    if writer:
        writer.join()
    assert found.equals(expected)


def test_an_archive_is_scored_but_not_on_a_pipe(
    run: Path, tmp_path: Path, expected: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"log.tsv": b"".join(line + b"\n" for line in LINES), "readme.txt": b"Clicks.\n"}
    for name in ("deflated.zip", "log.tar.gz", "log.tar"):
        archive = tmp_path / name
        archive.write_bytes(ARCHIVES[name](files))
        for argument in (archive, f"{archive}::log.tsv"):
            assert scored(run, [argument], tmp_path / "p.parquet").equals(expected)
        (tmp_path / "p.csv").symlink_to(archive)
        with pytest.raises(UsageError, match="is one of the inputs"):
            predict_run(run, f"{archive}::log.tsv", tmp_path / "p.csv", quiet=True)
        (tmp_path / "p.csv").unlink()
        pipe = io.BytesIO(archive.read_bytes())
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
        words = rf"- is a {'zip' if 'zip' in name else 'tar'} archive on a pipe: name the file itse"
        with pytest.raises(InputError, match=words):
            predict_run(run, "-", tmp_path / "p.csv", quiet=True)


def test_an_empty_stream_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(InputError, match="- is empty"):
        predict_run(run, "-", tmp_path / "p.csv", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_malformed_lines_are_counted_and_listed_as_in_preparing(
    run: Path, tmp_path: Path, expected: pl.DataFrame
) -> None:
    long = VALID_LINE + b"\t" * (3 << 20)
    bad = [b"\x1b[31mred\xc2\x85\xe2\x80\xae\x7f\xff", long, *[b"bad"] * 120]
    raw = write_raw(tmp_path / "log.tsv", [*LINES[:200], *bad, *LINES[200:]])
    out = tmp_path / "p.parquet"
    with pytest.raises(InputError, match=r"line 201: .*\(122 malformed .*--max-bad-rows is 121"):
        predict_run(run, [raw], out, quiet=True, max_bad_rows=121)
    found = predict_run(run, [raw], out, quiet=True, max_bad_rows=122)
    assert (found.rows, found.rejected, found.rejected_listed) == (300, 122, 100)
    assert json.loads(json.dumps(found.to_dict()))["rejected"] == 122
    frame = pl.read_parquet(out)
    assert frame["probability"].equals(expected["probability"])
    assert frame["row"].to_list() == [*range(200), *range(322, 422)]
    listing = tmp_path / "p.parquet.rejected.jsonl"
    text = listing.read_bytes()
    assert all(byte in range(32, 127) or byte == 10 for byte in text)
    listed = [json.loads(line) for line in text.splitlines()]
    assert [entry["line"] for entry in listed] == list(range(201, 301))
    assert listed[0]["text"] == "\x1b[31mred\x85\u202e\x7f\\xff"
    assert listed[1]["reason"] == "the line is longer than 1 MiB"

    prepare(raw, tmp_path / "data", max_bad_rows=122, min_count=1)
    assert (tmp_path / "data" / "rejected.jsonl").read_bytes() == text
    # A clean prediction leaves no list of an earlier one beside it.
    scored(run, [write_raw(tmp_path / "clean.tsv", LINES)], out)
    assert not listing.exists()


def test_no_input_is_replaced_by_the_list(run: Path, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "p.csv.rejected.jsonl", LINES)
    with pytest.raises(UsageError, match=r"written beside --out .*p\.csv, is one of the inputs"):
        predict_run(run, [raw], tmp_path / "p.csv", quiet=True)
    assert raw.read_bytes().count(b"\n") == 300


def test_a_kaggle_submission_has_an_id_for_every_row(
    run: Path, tmp_path: Path, expected: pl.DataFrame
) -> None:
    out = tmp_path / "submission.csv"
    for lines, ids in (
        (LINES, range(60_000_000, 60_000_300)),
        (unlabelled(LINES), range(60_000_000, 60_000_300)),
        (kaggle_csv_lines(LINES), range(10**7, 10**7 + 300)),
        (kaggle_csv_lines(LINES, label=b""), range(10**7, 10**7 + 300)),
    ):
        raw = write_raw(tmp_path / "log", lines)
        found = predict_run(run, raw, out, output_format="kaggle", quiet=True)
        header, *rows = out.read_text().splitlines()
        assert (header, len(rows), found.rows) == ("Id,Predicted", 300, 300)
        assert [int(row.split(",")[0]) for row in rows] == list(ids)
        probabilities = [float(row.split(",")[1]) for row in rows]
        assert probabilities == pytest.approx(expected["probability"].to_list(), rel=1e-6)


def test_ids_of_a_submission_go_through_all_inputs_and_over_lines_left_out(
    run: Path, tmp_path: Path
) -> None:
    first = write_raw(tmp_path / "a.tsv", [*LINES[:2], b"bad"])
    second = write_raw(tmp_path / "b.tsv", [TAB_HEADER, LINES[2]])
    out = tmp_path / "s.csv"
    predict_run(run, [first, second], out, output_format="kaggle", max_bad_rows=1, quiet=True)
    assert pl.read_csv(out)["Id"].to_list() == [60_000_000, 60_000_001, 60_000_003]


def test_a_submission_is_csv_and_replaces_only_predictions(run: Path, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "log", LINES)
    with pytest.raises(UsageError, match=r"--format kaggle writes CSV: let --out .*p\.parquet end"):
        predict_run(run, raw, tmp_path / "p.parquet", output_format="kaggle", quiet=True)
    with pytest.raises(UsageError, match="--format kagle is not known: use rows or kaggle"):
        predict_run(run, raw, tmp_path / "p.csv", output_format="kagle", quiet=True)
    (tmp_path / "p.csv").write_text("Id,Click\n1,0\n")
    with pytest.raises(OutputError, match="holds no predictions"):
        predict_run(run, raw, tmp_path / "p.csv", output_format="kaggle", quiet=True)
    assert FORMATS == prediction_file.FORMATS


def test_files_with_and_without_a_header_are_one_log(
    run: Path, tmp_path: Path, expected: pl.DataFrame
) -> None:
    for lines, header in ((LINES, TAB_HEADER), (reczoo_lines(LINES)[1:], reczoo_lines([])[0])):
        with_header = write_raw(tmp_path / "a", [header, *lines[:100]])
        without = write_raw(tmp_path / "b", lines[100:])
        found = scored(run, [with_header, without], tmp_path / "p.parquet")
        assert found["row"].to_list() == list(range(300))
        assert found["probability"].to_list() == pytest.approx(expected["probability"].to_list())
    bad = write_raw(tmp_path / "bad", [TAB_HEADER, *LINES[:5], b"bad", *LINES[5:]])
    with pytest.raises(InputError, match="bad, line 7: 1 field instead of 40"):
        scored(run, [bad], tmp_path / "p.parquet")
    found = scored(run, [bad], tmp_path / "p.parquet", max_bad_rows=1)
    assert found["row"].to_list() == [*range(5), *range(6, 301)]
