"""Rows that cannot be scored are refused in one sentence that says which row, where and why."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from criteo_stream import InputError, Predictor, UsageError, load
from criteo_stream.base.errors import CriteoStreamError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from tests.support.data_sets import prepare
from tests.support.raw_lines import VALID_LINE, raw_lines, unlabelled, with_field, write_raw
from tests.support.training import fit

GOOD: dict[str, Any] = {"I1": 3, "C1": "0a1b2c3d"}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("wrong")
    prepare(write_raw(folder / "log.tsv", raw_lines(300)), folder / "data", min_count=2)
    fit(folder / "data", folder / "run")
    return load(folder / "run")


def refused(predictor: Predictor, rows: Any, kind: type[CriteoStreamError] = InputError) -> str:
    with pytest.raises(kind) as error:
        predictor.predict_proba(rows)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"I1": "3"}, "row 2, I1 is '3', expected an integer, or None"),
        ({"I1": 3.0}, "row 2, I1 is 3.0, expected an integer"),
        ({"I1": float("nan")}, "row 2, I1 is nan, expected an integer"),
        ({"I1": True}, "row 2, I1 is True, expected an integer"),
        ({"I1": ""}, "row 2, I1 is '', expected an integer"),
        ({"I13": 2**31}, "row 2, I13 is 2147483648, outside the 32-bit integers"),
        ({"I1": 1 << 40}, "row 2, I1 is 1099511627776, outside the 32-bit integers"),
        ({"I1": -(2**31) - 1}, "row 2, I1 is -2147483649, outside"),
        ({"C1": 5}, "row 2, C1 is 5, expected a text of 8 hex digits, or None"),
        ({"C1": b"0a1b2c3d"}, "row 2, C1 is b'0a1b2c3d', expected a text"),
        ({"C26": "68fd1e6"}, "row 2, C26 is '68fd1e6', expected a text of 8 hex digits"),
        ({"C26": "0a1b2c3d\n"}, r"row 2, C26 is '0a1b2c3d\n', expected"),
        ({"C2": "0a1b2c3d\t0a1b2c3d"}, "row 2, C2 is '0a1b2c3d"),
        ({"C2": "６8fd1e64"}, "row 2, C2 is '６8fd1e64', expected"),
        ({"C1": "x" * 10_000}, "row 2, C1 is 'xxx"),
        ({"C1": ["0a1b2c3d"]}, "row 2, C1 is ['0a1b2c3d'], expected"),
        ({"C27": "0a1b2c3d"}, "row 2 has the key 'C27', expected I1 to I13 and C1 to C26"),
        ({"i1": 3}, "row 2 has the key 'i1' (did you mean I1?), expected I1 to I13 and C1 to C26"),
        ({"price": 3}, "row 2 has the key 'price', expected"),
        ({5: 3}, "row 2 has the key 5"),
        ({"label": 2}, "row 2, label is 2, expected 0 or 1, or no label"),
        ({"label": "1"}, "row 2, label is '1', expected"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_dictionaries(predictor: Predictor, wrong: dict[Any, Any], words: str) -> None:
    assert words in refused(predictor, [GOOD, {}, GOOD | wrong])
    assert words.replace("row 2", "row 0") in refused(predictor, GOOD | wrong)


def test_a_number_too_long_to_show(predictor: Predictor) -> None:
    words = "row 0, I1 is a huge number, outside the 32-bit integers"
    assert words in refused(predictor, {"I1": 10**5000})


@pytest.mark.parametrize("before", [2, 1500])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (with_field(1, b"x"), "I1 is 'x', expected an integer"),
        (with_field(1, b"3.0"), "(pandas writes integers so"),
        (with_field(1, b"99999999999"), "outside the 32-bit integers"),
        (with_field(39, b"+abcdef1"), "C26 is '+abcdef1', expected 8 hex digits"),
        (with_field(0, b"2"), "label is '2', expected 0 or 1"),
        (VALID_LINE.split(b"\t", 1)[1], "39 fields instead of 40"),
        (b"", "the line is blank"),
        (VALID_LINE + b"\n" + VALID_LINE, "it holds several lines: give a list"),
        (VALID_LINE + b"\n\n", "it holds several lines"),
        (VALID_LINE + b"\r\r", "expected 8 hex digits"),
        (VALID_LINE.replace(b"\t", b","), "it has commas between its fields: use tabs"),
        (b"\xff" + VALID_LINE, "byte 1 is not valid UTF-8"),
        ("\ud800" + VALID_LINE.decode(), "byte 1 is not valid UTF-8"),
        (VALID_LINE + b"\t" * (2 << 20), "longer than 1 MiB"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_lines(predictor: Predictor, line: Any, words: str, before: int) -> None:
    text = refused(predictor, [*[VALID_LINE] * before, line])
    assert text.startswith(f"row {before}: ")
    assert words in text


def test_lines_are_of_one_form(predictor: Predictor) -> None:
    mixed = [*unlabelled([VALID_LINE]), VALID_LINE]
    assert "row 1: 40 fields instead of 39" in refused(predictor, mixed)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (5, "rows are of type int: give a raw line, a dictionary"),
        (None, "rows are of type NoneType"),
        (iter([GOOD]), "rows are of type list_iterator"),
        (np.zeros((2, 39)), "rows are of type numpy.ndarray"),
        (pl.LazyFrame({"I1": [1]}), "rows are of type polars.lazyframe.frame.LazyFrame"),
        (bytearray(b"ab"), "row 0 is of type int, expected a line or a dictionary"),
        ([GOOD, None], "row 1 is of type NoneType, expected a dictionary, like the first one"),
        ([GOOD, VALID_LINE], "row 1 is of type bytes, expected a dictionary, like the first one"),
        ([VALID_LINE, GOOD], "row 1 is of type dict, expected a line, like the first one"),
    ],
    ids=[
        "int",
        "None",
        "iterator",
        "array",
        "lazy",
        "bytearray",
        "none second",
        "line second",
        "dict second",
    ],
)
def test_what_is_no_row(predictor: Predictor, rows: Any, words: str) -> None:
    assert words in refused(predictor, rows, UsageError)


def frame() -> pl.DataFrame:
    integers = {c: [1, None, -2] for c in INTEGER_COLUMNS}
    return pl.DataFrame(integers | {c: ["0a1b2c3d", None, ""] for c in CATEGORICAL_COLUMNS})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"I2": [1, 2, 2**31]}, "row 2, I2 is 2147483648, expected an integer within 32 bits"),
        ({"I2": [1.0, None, 2.5]}, "row 2, I2 is 2.5, expected an integer"),
        ({"I2": [1.0, 2.0, float("inf")]}, "row 2, I2 is inf"),
        ({"I2": [1.0, 2.0, 1e300]}, "row 2, I2 is 1e+300"),
        ({"I2": ["1", "2", "3"]}, "column I2 is "),
        ({"I2": [True, False, True]}, "column I2 is Boolean, expected integers"),
        ({"C2": [1, 2, 3]}, "column C2 is Int64, expected texts of 8 hex digits"),
        ({"C2": [None, "", "68fd1e6x"]}, "row 2, C2 is '68fd1e6x', expected 8 hex digits"),
        ({"C2": [None, "", "0a1b2c3d\n"]}, r"row 2, C2 is '0a1b2c3d\n', expected"),
        ({"price": [1, 2, 3]}, "the frame has a column 'price': give I1 to I13 and C1 to C26"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_frames(predictor: Predictor, wrong: dict[str, Any], words: str) -> None:
    rows = frame().with_columns(**{c: pl.Series(c, v) for c, v in wrong.items()})
    assert words in refused(predictor, rows)
    if not any(isinstance(v, bool) or v is None for v in next(iter(wrong.values()))):
        assert words in refused(predictor, rows.to_pandas())


def test_frames_with_other_columns(predictor: Predictor) -> None:
    for column in ("I5", "C26"):
        words = f"the frame has no column {column}: give I1 to I13 and C1 to C26, with nulls"
        assert words in refused(predictor, frame().drop(column))
        assert words in refused(predictor, frame().drop(column).to_pandas())
    twice = pd.concat([frame().to_pandas(), frame().to_pandas()[["C3"]]], axis=1)
    assert "the frame has 2 columns C3" in refused(predictor, twice)
    mixed = frame().to_pandas().astype({"C3": object})
    mixed["C3"] = ["0a1b2c3d", 5, None]
    assert "column C3 " in refused(predictor, mixed)


def test_a_frame_of_nulls_is_missing_throughout(predictor: Predictor) -> None:
    rows = pl.DataFrame({column: [None] for column in FEATURE_COLUMNS})
    assert predictor.predict_proba(rows).tolist() == predictor.predict_proba({}).tolist()
