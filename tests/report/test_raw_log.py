"""A raw log as a table of its columns."""

import gzip
from pathlib import Path

import pytest

from criteo_stream.report.inspection import inspect
from tests.support.raw_lines import (
    VALID_LINE,
    kaggle_csv_lines,
    raw_lines,
    with_field,
    write_raw,
)

LINES = raw_lines(250, seed=2)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_log_is_shown_by_column_within_80_characters(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress(b"".join(line + end for line in LINES)))
    figures, text = inspect(path)
    assert text[1:4] == [
        "layout kaggle, with labels, without a header, gzip",
        "first 100 rows: 0 malformed",
        "",
    ]
    assert max(map(len, text[1:])) <= 80
    assert [line.split()[0] for line in text[4:]] == [
        "column", "label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27)),
    ]  # fmt: skip
    third = [line.split(b"\t")[3].decode() for line in LINES[:100]]
    name, missing, distinct, *shown = text[8].split()
    assert name == "I3"
    assert missing == f"{third.count('') / 100:.0%}" != "0%"
    assert int(distinct) == len(set(third) - {""})
    assert shown == list(dict.fromkeys(value for value in third if value))[:5]
    assert figures["compression"] == "gzip"
    assert figures["columns"][3]["missing"] == third.count("") / 100  # type: ignore[index]


def test_header_ids_and_malformed_lines_are_told(tmp_path: Path) -> None:
    raw = kaggle_csv_lines([VALID_LINE, with_field(2, b"\x1b[31m"), VALID_LINE], label=b"")
    figures, text = inspect(write_raw(tmp_path / "test.csv", raw))
    assert figures["rows_estimated"] == 3
    assert text[1] == "layout kaggle-csv, without labels, with a header, not compressed"
    assert text[2] == "first 3 rows: 1 malformed"
    assert text[3].startswith(r"  line 3: I2 is '\x1b[31m', expected an integer")
    assert text[6].split() == ["Id", "0%", "2", "10000000", "10000002"]


def test_long_values_are_left_out_rather_than_wrapped(tmp_path: Path) -> None:
    line = with_field(1, b"0" * 90 + b"7")
    text = inspect(write_raw(tmp_path / "log", [line, VALID_LINE])).lines
    assert text[6].split() == ["I1", "0%", "2"]


def test_a_log_without_a_valid_row_has_no_table(tmp_path: Path) -> None:
    short = VALID_LINE.rsplit(b"\t", 2)[0]
    text = inspect(write_raw(tmp_path / "log", [short] * 3)).lines
    assert text[2] == "first 3 rows: 3 malformed"
    assert len(text) == 6
