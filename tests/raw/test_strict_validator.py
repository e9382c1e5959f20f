"""Mutated small logs, as files: what is accepted and rejected is what a plain validator says.

The validator below is written from the words of `docs/data-format.md`, with nothing of the package.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criteo_stream.base.errors import InputError
from criteo_stream.raw import chunks
from criteo_stream.raw.chunks import read_chunks
from criteo_stream.raw.detect_layout import detect_layout
from criteo_stream.raw.parse import ParsedChunk, parse_chunk
from tests.support.raw_lines import (
    COMPRESS,
    beginning_of,
    kaggle_csv_lines,
    raw_lines,
    reczoo_lines,
    unlabelled,
)

Row = tuple[int | None, list[int | None], list[int | None]]

LINES = raw_lines(60, seed=9)
LOGS = {
    "kaggle": LINES,
    "unlabelled": unlabelled(LINES),
    "reczoo": reczoo_lines(LINES),
    "kaggle-csv": kaggle_csv_lines(LINES),
    "kaggle-csv without labels": kaggle_csv_lines(LINES, label=b""),
}
TOKENS = (
    b"", b"0", b"-1", b"1", b"2", b"007", b"+5", b" 5", b"5.0", b"1e3", b"0x1f", b"\\N", b"NULL",
    b"nan", b'"', b'"5"', b"2147483647", b"2147483648", b"-2147483649", b"99999999999999999999",
    b"abcdef12", b"ABCDEF12", b"abcdefg1", b"+abcdef1", b"1234567", b"\xd9\xa3", b"\xff", b"\x00",
    b"\r", b"\t", b",", b"\x1b[31m", b"\xe2\x80\xae", b"\xc2\x85",
)  # fmt: skip


def row_of(line: bytes, log: str, pad: bool) -> Row | None:
    """The values of a valid line; None for a malformed one."""
    separator = b"\t" if log in ("kaggle", "unlabelled") else b","
    has_id, has_label = log.startswith("kaggle-csv"), "label" not in log
    fields = line.split(separator)
    columns = has_id + has_label + 39
    if pad and line:
        fields += [b""] * (columns - len(fields))
    if len(fields) != columns or not line:
        return None
    if has_id:
        number = fields.pop(0)
        if not re.fullmatch(rb"-?\d+", number) or not -(2**63) <= int(number) < 2**63:
            return None
    label = fields.pop(0) if has_label else None
    if label not in (None, b"0", b"1"):
        return None
    integers, categories = fields[:13], fields[13:]
    for value in integers:
        if value and not (re.fullmatch(rb"-?\d+", value) and -(2**31) <= int(value) < 2**31):
            return None
    if any(value and not re.fullmatch(rb"[0-9a-fA-F]{8}", value) for value in categories):
        return None
    return (
        None if label is None else int(label),
        [int(value) if value else None for value in integers],
        [int(value, 16) if value else None for value in categories],
    )


@st.composite
def mutated(draw: st.DrawFn, log: str) -> bytes:
    """Some lines of a log with tokens, cuts, insertions and line ends of all kinds in them."""
    header = [] if log in ("kaggle", "unlabelled") else LOGS[log][:1]
    lines = draw(st.lists(st.sampled_from(LOGS[log][len(header) :]), min_size=1, max_size=12))
    for number in draw(st.sets(st.integers(0, len(lines) - 1), max_size=3)):
        line, token = lines[number], draw(st.sampled_from(TOKENS))
        match draw(st.integers(0, 4)):
            case 0:  # a field
                separator = b"," if header else b"\t"
                fields = line.split(separator)
                fields[draw(st.integers(0, len(fields) - 1))] = token
                lines[number] = separator.join(fields)
            case 1:  # anywhere
                start = draw(st.integers(0, len(line)))
                lines[number] = line[:start] + token + line[start + draw(st.integers(0, 9)) :]
            case 2:
                lines[number] = line[: draw(st.integers(0, len(line)))]
            case 3:
                lines[number] = line.rstrip(b"\t,")
            case _:
                lines[number] = line + token
    ends = draw(st.sampled_from([[b"\n"], [b"\r\n"], [b"\n", b"\r\n"], [b"\n", b"\r\r\n"]]))
    rows = b"".join(line + draw(st.sampled_from(ends)) for line in lines)
    return b"".join(line + b"\n" for line in header) + rows[: -draw(st.integers(0, 1)) or None]


def parsed(path: Path, *, pad: bool, block_rows: int) -> Iterator[ParsedChunk]:
    beginning = beginning_of(path)
    layout = detect_layout(beginning)
    for chunk in read_chunks(beginning, block_rows=block_rows):
        yield parse_chunk(chunk, layout, pad_short_lines=pad)


@pytest.mark.parametrize("log", LOGS)
@settings(max_examples=60, derandomize=True)
@given(draw=st.data(), suffix=st.sampled_from(list(COMPRESS)), pad=st.booleans())
def test_what_is_accepted_and_rejected_is_what_a_plain_validator_says(
    log: str, draw: st.DataObject, suffix: str, pad: bool
) -> None:
    content = draw.draw(mutated(log))
    header = LOGS[log][0] + b"\n" if log not in ("kaggle", "unlabelled") else b""
    lines = content.removeprefix(header).split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines
    rows = [row_of(line.removesuffix(b"\r"), log, pad) for line in lines]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", draw.draw(st.sampled_from([300, 1000, 1 << 20])))
        path = Path(folder) / f"log{suffix}"
        path.write_bytes(COMPRESS[suffix](content))
        refused = None
        found = []
        try:
            found = list(parsed(path, pad=pad, block_rows=draw.draw(st.sampled_from([1, 5, 99]))))
        except InputError as error:
            refused = str(error)
    if refused:  # where few of the lines fit, by the first that does not
        place = re.search(r", line (\d+): .*rows are ", refused)
        assert place
        assert row_of(lines[int(place[1]) - 1].removesuffix(b"\r"), log, False) is None
        assert not header
        return
    first = 1 + bool(header)
    assert [r.line for p in found for r in p.rejects] == [
        number for number, row in enumerate(rows, first) if row is None
    ]
    assert sum(p.rejected for p in found) == rows.count(None)
    accepted = [values(row) for p in found for row in p.frame.rows()]
    assert accepted == [row for row in rows if row is not None]


def values(row: tuple[int | None, ...]) -> Row:
    """A parsed row in the validator's form."""
    return (row[0] if len(row) == 40 else None, list(row[-39:-26]), list(row[-26:]))


def test_the_validator_accepts_the_clean_logs() -> None:
    for log, lines in LOGS.items():
        rows = lines if log in ("kaggle", "unlabelled") else lines[1:]
        assert None not in [row_of(line, log, False) for line in rows]
