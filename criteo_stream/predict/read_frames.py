"""Frames of Polars and pandas to values: every column is checked before it is converted."""

import sys
from typing import Any, Final

import numpy as np
import polars as pl

from criteo_stream.base.errors import InputError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.predict.read_rows import shown
from criteo_stream.predict.row_encoder import MISSING_VALUE
from criteo_stream.prepare.counts import Int64Array
from criteo_stream.raw.layouts import ID

_UNUSED: Final = {ID, LABEL}
_TEXTS: Final = (pl.String, pl.Categorical, pl.Enum)


def is_pandas(rows: object) -> bool:
    """Whether it is a frame of pandas, which is not loaded for the question."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def from_pandas(rows: Any) -> pl.DataFrame:
    """The same columns in Polars, NaN as missing.

    Raises:
        InputError: a column is missing, unknown, there twice, or holds values of several types.
    """
    _check_columns(list(rows.columns))
    columns = {}
    for column in FEATURE_COLUMNS:
        try:
            columns[column] = pl.from_pandas(rows[column])
        except Exception as error:  # Arrow's and Polars' own, of many types
            reason = str(error).splitlines()[0]
            raise InputError(f"the frame's column {column} cannot be read: {reason}") from None
    return pl.DataFrame(columns)


def read_frame(frame: pl.DataFrame, first_row: int = 0) -> Int64Array:
    """Values int64 [n, 39] of a frame, as `RowEncoder` takes them.

    Args:
        frame: I1..I13 integers (or floats that hold integers, as pandas has them where values are
            missing), C1..C26 texts of 8 hex digits; null and NaN are missing, empty texts too.
            ``label`` and ``Id`` may be there and are not used.
        first_row: number of the first one, for messages.

    Raises:
        InputError: a column is missing, unknown, or of another type; a value is out of range.
    """
    _check_columns(frame.columns)
    integers = [_integers(frame[c], first_row) for c in INTEGER_COLUMNS]
    codes = [_codes(frame[c], first_row) for c in CATEGORICAL_COLUMNS]
    columns = [series.fill_null(MISSING_VALUE).to_numpy() for series in integers + codes]
    return np.stack(columns, axis=1)


def _check_columns(found: list[Any]) -> None:
    for column in FEATURE_COLUMNS:
        if (times := found.count(column)) != 1:
            raise InputError(
                f"the frame has {'no column' if not times else f'{times} columns'} {column}: give "
                "I1 to I13 and C1 to C26, with nulls where values are missing"
            )
    if unknown := [name for name in found if name not in _UNUSED and name not in FEATURE_COLUMNS]:
        raise InputError(
            f"the frame has a column {shown(unknown[0])}: give I1 to I13 and C1 to C26, and "
            "nothing else than label and Id"
        )


def _integers(series: pl.Series, first_row: int) -> pl.Series:
    expected = "an integer within 32 bits"
    if series.dtype.is_float():
        series = series.fill_nan(None)
        whole = series.is_finite() & (series == series.round()) & series.is_between(-(2**31), 2**31)
        _refuse(series, ~whole, expected, first_row)
    elif not series.dtype.is_integer() and series.dtype != pl.Null:
        raise InputError(f"the frame's column {series.name} is {series.dtype}, expected integers")
    narrow = series.cast(pl.Int32, strict=False)
    _refuse(series, narrow.is_null() & series.is_not_null(), expected, first_row)
    return narrow.cast(pl.Int64)


def _codes(series: pl.Series, first_row: int) -> pl.Series:
    if series.dtype not in _TEXTS and series.dtype != pl.Null:
        raise InputError(
            f"the frame's column {series.name} is {series.dtype}, expected texts of 8 hex digits"
        )
    texts = series.cast(pl.String)
    texts = texts.set(texts == "", None)
    bad = ~texts.str.contains(r"^[0-9a-fA-F]{8}$")
    _refuse(texts, bad, "8 hex digits", first_row)
    return texts.str.to_integer(base=16, dtype=pl.Int64)


def _refuse(series: pl.Series, bad: pl.Series, expected: str, first_row: int) -> None:
    """Refuse values where ``bad`` is true, which is null for missing ones."""
    if (row := bad.fill_null(value=False).arg_max()) is not None and bad[row]:
        value = shown(series[row])
        raise InputError(
            f"row {first_row + row}, {series.name} is {value}, expected {expected}, or null for a "
            "missing one"
        )
