"""One damaged cell among the first lines of a valid log: its line, column and value are told."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criteo_stream.base.errors import InputError
from criteo_stream.raw.chunks import read_chunks
from criteo_stream.raw.detect_layout import detect_layout
from criteo_stream.raw.layouts import FORMS, KAGGLE_CSV_UNLABELLED, Layout
from criteo_stream.raw.parse import parse_chunk
from tests.support.raw_lines import beginning_of, raw_lines, write_raw

LINES = raw_lines(40, seed=11)


def told_about(path: Path) -> str:
    """What is said about the first malformed line, where it is said."""
    try:
        beginning = beginning_of(path)
        layout = detect_layout(beginning)
    except InputError as error:
        return str(error)
    (chunk,) = read_chunks(beginning)
    (found,) = parse_chunk(chunk, layout).rejects
    return f"{found.file}, line {found.line}: {found.reason}"


def is_valid(column: str, value: str) -> bool:
    """By the words of `docs/data-format.md`."""
    if column == "label":
        return value in ("0", "1")
    if column.startswith("C"):
        return bool(re.fullmatch("[0-9a-fA-F]{8}|", value))
    if not value:
        return column != "Id"
    bits = 63 if column == "Id" else 31
    return (
        bool(re.fullmatch("-?[0-9]+", value, re.ASCII)) and -(1 << bits) <= int(value) < 1 << bits
    )


@pytest.mark.parametrize(
    ("form", "header"),
    # Without a header, ids without labels are not told from wrong labels.
    [
        (form, header)
        for form in FORMS
        for header in (True, False)
        if header or form != KAGGLE_CSV_UNLABELLED
    ],
)
@settings(max_examples=60, derandomize=True)
@given(draw=st.data(), rows=st.integers(1, 40))
def test_a_damaged_cell_is_named_by_line_and_column(
    form: Layout, header: bool, draw: st.DataObject, rows: int
) -> None:
    fields = [line.decode().split("\t") for line in LINES[:rows]]
    table = [["70000000"] * form.has_id + row[not form.labelled :] for row in fields]
    row = draw.draw(st.integers(0, rows - 1))
    place = draw.draw(st.integers(0, len(form.columns) - 1))
    column = form.columns[place]
    text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\t,\r\n"))
    known = st.sampled_from(["1.5", "-1", "abc", "NULL", "", "2", "99999999999", "0a1b2c3", '"5"'])
    value = draw.draw((known | text).filter(lambda value: not is_valid(column, value)))
    table[row][place] = value
    separator = form.separator.decode()
    lines = [separator.join(form.columns)] * header + [separator.join(row) for row in table]
    with TemporaryDirectory() as folder:
        path = write_raw(Path(folder) / "log", [line.encode() for line in lines])
        found = told_about(path)
    assert found.startswith(f"{path}, line {row + 1 + header}: {column} is {value[:40]!r}"), found
