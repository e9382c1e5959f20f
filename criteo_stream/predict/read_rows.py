"""Raw lines and dictionaries to values: what a model is asked about in a program.

A few rows are read in Python, since a parser of whole files takes milliseconds to begin. Lines are
held against the same rules as in files, and the words for a malformed one are the same.
"""

import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from criteo_stream.base.errors import InputError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.predict.row_encoder import MISSING_VALUE
from criteo_stream.prepare.counts import Int64Array
from criteo_stream.raw.chunks import Chunk
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.layouts import KAGGLE, KAGGLE_UNLABELLED, Layout
from criteo_stream.raw.malformed import explain, number_of
from criteo_stream.raw.parse import parse_chunk, usual_line

_PARSED_LINES: Final = 1000
"""Lines from which on a parser of files is faster than Python."""
_LOWEST, _HIGHEST = -(1 << 31), (1 << 31) - 1
_KEYS: Final = {LABEL, *FEATURE_COLUMNS}
_CODES: Final = re.compile("\t".join([r"(?:[0-9a-fA-F]{8})?"] * len(CATEGORICAL_COLUMNS)))
_CODE: Final = re.compile(r"(?:[0-9a-fA-F]{8})?")
_NO_CODE: Final = "00000000"


def shown(value: object) -> str:
    """A value in a message: its beginning."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}…"


class LineReader:
    """Reads lines of one form: with label or without, as the first one is.

    Args:
        first: the first line; it need not be valid.
    """

    def __init__(self, first: str | bytes) -> None:
        labelled = _without_end(first).count(b"\t") != KAGGLE_UNLABELLED.separators
        self._layout: Layout = KAGGLE if labelled else KAGGLE_UNLABELLED
        self._usual = usual_line(self._layout)

    def __call__(self, lines: Sequence[str | bytes], first_row: int = 0) -> Int64Array:
        """Values int64 [n, 39] of lines with or without line ends, as `RowEncoder` takes them.

        Args:
            lines: the lines.
            first_row: number of the first one, for messages.

        Raises:
            InputError: a line is malformed; says which, counted from 0, and why.
        """
        bare = [_without_end(line) for line in lines]
        if len(bare) < _PARSED_LINES:
            return self._read(bare, first_row)
        text = b"".join(line + b"\n" for line in bare)
        if text.count(b"\n") != len(bare) or b"\r" in text:
            return self._read(bare, first_row)  # says which row holds more than a line
        source = RawInput(Path("rows"))
        chunk = Chunk(source=source, first_line=0, lines=len(bare), parts=[text])
        parsed = parse_chunk(chunk, self._layout)
        if parsed.rejects:
            place = parsed.rejects[0].line - 1
            self._refuse(bare[place], first_row + place)
        columns = [parsed.frame[c].cast(int).fill_null(MISSING_VALUE) for c in FEATURE_COLUMNS]
        return np.stack([column.to_numpy() for column in columns], axis=1)

    def _read(self, lines: Sequence[bytes], first_row: int) -> Int64Array:
        integers: list[int] = []
        codes: list[bytes] = []
        start = len(self._layout.leading)
        middle = start + len(INTEGER_COLUMNS)
        for row, line in enumerate(lines, first_row):
            fields = line.split(b"\t")
            if self._usual.fullmatch(line):
                integers += [int(f) if f else MISSING_VALUE for f in fields[start:middle]]
            else:
                self._refuse(line, row)
                integers += [number_of(f) if f else MISSING_VALUE for f in fields[start:middle]]
            codes += fields[middle:]
        return _values(integers, [code.decode() for code in codes])

    def _refuse(self, line: bytes, row: int) -> None:
        """Refuse a line unless it is valid."""
        reason = explain(line, self._layout)
        if b"\n" in line:
            reason = "it holds several lines: give a list with one line each"
        elif reason and b"\t" not in line and b"," in line:
            reason = "it has commas between its fields: use tabs, or give a dictionary"
        if reason:
            raise InputError(f"row {row}: {reason}")


def _without_end(line: str | bytes) -> bytes:
    # What is no Unicode text becomes bytes that are malformed, and is refused as such.
    text = line.encode(errors="surrogatepass") if isinstance(line, str) else line
    return text.removesuffix(b"\n").removesuffix(b"\r")


def read_dicts(rows: Sequence[Mapping[str, Any]], first_row: int = 0) -> Int64Array:
    """Values int64 [n, 39] of rows by column, as `RowEncoder` takes them.

    Args:
        rows: ``I1`` … ``I13`` integers, ``C1`` … ``C26`` texts of 8 hex digits; what is None or
            not there is missing. ``label`` may be there and is not used.
        first_row: number of the first one, for messages.

    Raises:
        InputError: an unknown key, or a value that is of another type or out of range.
    """
    integers: list[int] = []
    codes: list[str] = []
    for row, found in enumerate(rows, first_row):
        numbers = [found.get(c) for c in INTEGER_COLUMNS]
        texts = ["" if (v := found.get(c)) is None else v for c in CATEGORICAL_COLUMNS]
        if not _is_usual(found, numbers, texts):
            numbers = [_integer(c, v, row) for c, v in zip(INTEGER_COLUMNS, numbers, strict=True)]
            for column, text in zip(CATEGORICAL_COLUMNS, texts, strict=True):
                _refuse_other_code(column, text, row)
            _refuse_other_keys(found, row)
        integers += [MISSING_VALUE if v is None else v for v in numbers]
        codes += texts
    return _values(integers, codes)


def _is_usual(found: Mapping[str, Any], numbers: list[Any], texts: list[Any]) -> bool:
    """Whether a row is valid beyond doubt."""
    for v in numbers:
        if v is not None and (type(v) is not int or not _LOWEST <= v <= _HIGHEST):
            return False
    try:
        joined = "\t".join(texts)
    except TypeError:
        return False
    return bool(_CODES.fullmatch(joined)) and LABEL not in found and found.keys() <= _KEYS


def _integer(column: str, value: Any, row: int) -> int | None:
    if value is None:
        return None
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise InputError(
            f"row {row}, {column} is {shown(value)}, expected an integer, or None for a missing one"
        )
    if not _LOWEST <= number <= _HIGHEST:
        raise InputError(f"row {row}, {column} is {shown(value)}, outside the 32-bit integers")
    return number


def _refuse_other_code(column: str, value: Any, row: int) -> None:
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise InputError(
            f"row {row}, {column} is {shown(value)}, expected a text of 8 hex digits, or None for "
            "a missing one"
        )


def _refuse_other_keys(found: Mapping[Any, Any], row: int) -> None:
    for key in found:
        if key not in _KEYS:
            near = key.strip().upper() if isinstance(key, str) else ""
            hint = f" (did you mean {near}?)" if near in FEATURE_COLUMNS else ""
            raise InputError(
                f"row {row} has the key {shown(key)}{hint}, expected I1 to I13 and C1 to C26"
            )
    if LABEL in found and (isinstance(found[LABEL], bool) or found[LABEL] not in (0, 1)):
        raise InputError(f"row {row}, label is {shown(found[LABEL])}, expected 0 or 1, or no label")


def _values(integers: list[int], codes: list[str]) -> Int64Array:
    """[n · 13] and [n · 26], row by row, to int64 [n, 39]."""
    hashes = bytes.fromhex("".join([code or _NO_CODE for code in codes]))
    found = np.frombuffer(hashes, ">u4").astype(np.int64)
    found[[i for i, code in enumerate(codes) if not code]] = MISSING_VALUE
    numbers = np.array(integers, np.int64).reshape(-1, len(INTEGER_COLUMNS))
    return np.concatenate([numbers, found.reshape(-1, len(CATEGORICAL_COLUMNS))], axis=1)
