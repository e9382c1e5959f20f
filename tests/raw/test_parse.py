import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.raw.layouts import (
    KAGGLE,
    KAGGLE_CSV,
    KAGGLE_CSV_UNLABELLED,
    KAGGLE_UNLABELLED,
    Layout,
)
from criteo_stream.raw.malformed import KEPT_OF_CHUNK, explain
from tests.support.raw_lines import VALID_LINE, parse, raw_lines, with_field

FIELDS = VALID_LINE.split(b"\t")
INTEGER, HEX, LAST = 3, 20, 39


def plain_values(line: bytes, layout: Layout = KAGGLE) -> list[int | None] | None:
    """The definition of a valid line, word by word, and its values; None for any other line."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None
    integers, hexes = ["(-?[0-9]+|)"] * 13, ["([0-9a-fA-F]{8}|)"] * 26
    match = re.fullmatch("\t".join(["([01])"] * layout.labelled + integers + hexes), text)
    if not match:
        return None
    values = [int(v, 16 if i >= 13 + layout.labelled else 10) if v else None
              for i, v in enumerate(match.groups())]  # fmt: skip
    in_range = all(v is None or -(2**31) <= v < 2**32 for v in values)
    numbers = values[layout.labelled : 13 + layout.labelled]
    return values if in_range and all(v is None or v < 2**31 for v in numbers) else None


HARD_CASES = {
    "short of three fields": (b"\t".join(FIELDS[:37]), "37 fields instead of 40"),
    "lost trailing tabs": (
        b"\t".join([*FIELDS[:38], b"", b""]).rstrip(b"\t"),
        "38 fields instead of 40: the line lost its trailing tabs",
    ),
    "blank": (b"", "the line is blank"),
    "label 2": (with_field(0, b"2"), "label is '2', expected 0 or 1"),
    "label empty": (with_field(0, b""), "label is '', expected 0 or 1"),
    "label 01": (with_field(0, b"01"), "label is '01'"),
    "label 1.0": (with_field(0, b"1.0"), "label is '1.0'"),
    "7 digits": (with_field(HEX, b"a1b2c3d"), "C7 is 'a1b2c3d', expected 8 hex digits"),
    "sign in hex": (with_field(HEX, b"+abcdef1"), "C7 is '+abcdef1', expected 8 hex digits"),
    "minus in hex": (with_field(HEX, b"-abcdef1"), "C7 is '-abcdef1'"),
    "9 digits": (with_field(HEX, b"0a1b2c3d4"), "C7 is '0a1b2c3d4'"),
    "no hex": (with_field(HEX, b"xyzw1234"), "C7 is 'xyzw1234'"),
    "0x": (with_field(HEX, b"0x123456"), "C7 is '0x123456'"),
    "-1 for missing": (with_field(HEX, b"-1"), "C7 is '-1'"),
    "a quote": (with_field(HEX, b'"'), "C7 is '\"'"),
    "quoted": (with_field(HEX, b'"a1b2c3"'), "C7 is '\"a1b2c3\"'"),
    "quoted integer": (with_field(INTEGER, b'"5"'), "I3 is '\"5\"'"),
    "float": (with_field(INTEGER, b"260.0"), "I3 is '260.0', expected an integer"),
    "text": (with_field(INTEGER, b"many"), "I3 is 'many', expected an integer"),
    "above int32": (with_field(INTEGER, b"2147483648"), "I3 is '2147483648', outside the 32-bit"),
    "below int32": (with_field(INTEGER, b"-2147483649"), "outside the 32-bit integers"),
    "far above": (with_field(INTEGER, b"9" * 5000), "outside the 32-bit integers"),
    "plus": (with_field(INTEGER, b"+5"), "I3 is '+5', expected an integer"),
    "space": (with_field(INTEGER, b" 5"), "I3 is ' 5', expected an integer"),
    "space after": (with_field(INTEGER, b"5 "), "I3 is '5 ', expected an integer"),
    "minus alone": (with_field(INTEGER, b"-"), "I3 is '-', expected an integer"),
    "41 columns": (VALID_LINE + b"\t", "41 fields instead of 40"),
    "41 full columns": (VALID_LINE + b"\t0a1b2c3d", "41 fields instead of 40"),
    "not UTF-8": (with_field(HEX, b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe"), "is not valid UTF-8"),
    "other digits": (with_field(INTEGER, "٣".encode()), "I3 is '٣', expected an integer"),
    "return inside": (with_field(HEX, b"a1b2c3\r\r"), "C7 is 'a1b2c3\\r\\r'"),
    "two returns": (VALID_LINE + b"\r\r", "C26 is '0a1b2c3d\\r', expected 8 hex digits"),
    "null byte": (with_field(INTEGER, b"\x00"), "I3 is '\\x00'"),
    "header": (b"\t".join([b"label"] * 40), "label is 'label', expected 0 or 1"),
}


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("case", HARD_CASES)
def test_a_malformed_line_is_located_and_explained(case: str, place: str) -> None:
    line, reason = HARD_CASES[case]
    lines = [VALID_LINE, VALID_LINE]
    number = {"first": 0, "middle": 1, "last": 2}[place]
    lines.insert(number, line)
    end = b"\r\n" if case == "two returns" else b"\n"
    parsed = parse(b"".join(x + end for x in lines).replace(b"\r\r\r", b"\r\r"))
    assert parsed.rejected == 1
    (reject,) = parsed.rejects
    assert (reject.file, reject.line) == ("day.tsv", number + 1)
    assert reason in reject.reason
    assert parsed.frame.height == 2
    assert parsed.line_numbers.tolist() == [i + 1 for i in range(3) if i != number]


def test_every_line_malformed_gives_no_rows_and_the_first_rejects() -> None:
    parsed = parse(b"\n" * 5000)
    assert parsed.rejected == 5000
    assert [r.line for r in parsed.rejects] == list(range(1, KEPT_OF_CHUNK + 1))
    assert parsed.frame.height == 0
    assert parsed.frame.columns == [LABEL, *INTEGER_COLUMNS, *CATEGORICAL_COLUMNS]


ACCEPTED = {
    "upper case": with_field(HEX, b"ABCDEF12"),
    "negative": with_field(INTEGER, b"-2"),
    "smallest": with_field(INTEGER, b"-2147483648"),
    "largest": with_field(INTEGER, b"2147483647"),
    "leading zeros": with_field(INTEGER, b"-" + b"0" * 40 + b"2147483648"),
    "minus zero": with_field(INTEGER, b"-0"),
    "largest hash": with_field(HEX, b"ffffffff"),
    "smallest hash": with_field(HEX, b"00000000"),
    "last missing": with_field(LAST, b""),
    "all missing": b"0" + b"\t" * 39,
}


@pytest.mark.parametrize("case", ACCEPTED)
@pytest.mark.parametrize("company", [VALID_LINE, b"bad"])
def test_a_valid_line_is_accepted_alone_and_beside_a_bad_one(case: str, company: bytes) -> None:
    line = ACCEPTED[case]
    parsed = parse(line + b"\n" + company + b"\n")
    assert list(parsed.frame.row(0)) == plain_values(line)
    assert parsed.rejected == (company == b"bad")


def test_types_are_those_of_the_scratch() -> None:
    for text in (VALID_LINE + b"\n", b"bad\n"):
        types = parse(text).frame.dtypes
        assert types == [pl.UInt8, *[pl.Int32] * 13, *[pl.UInt32] * 26]


def test_crlf_is_a_line_end() -> None:
    lines = raw_lines(50)
    clean = parse(b"".join(x + b"\n" for x in lines))
    crlf = parse(b"".join(x + b"\r\n" for x in lines))
    mixed = parse(b"".join(x + (b"\n", b"\r\n")[i % 2] for i, x in enumerate(lines)))
    assert crlf.rejected == mixed.rejected == 0
    assert crlf.frame.equals(clean.frame)
    assert mixed.frame.equals(clean.frame)


def test_short_lines_are_padded_on_request_but_not_blank_or_bad_ones() -> None:
    whole = b"\t".join([*FIELDS[:33], *[b""] * 7])
    short = whole.rstrip(b"\t")
    bad = with_field(HEX, b"zz", short + b"\t" * 7).rstrip(b"\t")
    text = b"\n".join([short, VALID_LINE, b"", bad, b""])
    parsed = parse(text, pad=True)
    assert parsed.line_numbers.tolist() == [1, 2]
    assert list(parsed.frame.row(0)) == plain_values(whole)
    assert [r.line for r in parsed.rejects] == [3, 4]
    assert "trailing tabs" in parse(text).rejects[0].reason


def test_a_blank_line_is_malformed_without_labels_too() -> None:
    line = VALID_LINE.split(b"\t", 1)[1]
    for pad in (False, True):
        parsed = parse(line + b"\n\n", KAGGLE_UNLABELLED, pad=pad)
        assert parsed.rejects[0].reason == "the line is blank"
        assert list(parsed.frame.row(0)) == plain_values(line, KAGGLE_UNLABELLED)


def test_a_short_and_a_long_line_do_not_make_up_for_each_other() -> None:
    parsed = parse(b"\t".join(FIELDS[:39]) + b"\n" + VALID_LINE + b"\t0a1b2c3d\n")
    assert [r.line for r in parsed.rejects] == [1, 2]


SNIPPETS = st.sampled_from(
    [b"\t", b"\r", b" ", b"+", b"-", b'"', b"#", b".", b"0", b"1", b"9", b"a", b"F", b"g", b"\x00",
     b"\x0b", b"\x0c", b"\xa0", b"\xff", b"e", b"_", b",", b"00000000", b"2147483648", b"-0"]
)  # fmt: skip


@st.composite
def mutated_line(draw: st.DrawFn) -> bytes:
    """A valid line with up to three cuts, insertions or replacements."""
    line = draw(st.sampled_from(POOL))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(line)))
        removed = draw(st.sampled_from([0, 0, 1, 1, 2, 9]))
        line = line[:start] + draw(SNIPPETS | st.just(b"")) + line[start + removed :]
    return line.replace(b"\n", b"")


POOL = raw_lines(40, seed=5)


@settings(max_examples=400)
@given(lines=st.lists(mutated_line(), min_size=1, max_size=6), labelled=st.booleans())
def test_exactly_the_valid_lines_are_accepted_with_their_values(
    lines: list[bytes], labelled: bool
) -> None:
    layout = KAGGLE if labelled else KAGGLE_UNLABELLED
    if not labelled:
        lines = [line.split(b"\t", 1)[-1] for line in lines]
    parsed = parse(b"".join(line + b"\n" for line in lines), layout)
    # One return before the newline belongs to the line end.
    expected = [plain_values(line.removesuffix(b"\r"), layout) if line else None for line in lines]
    good = [i + 1 for i, values in enumerate(expected) if values is not None]
    assert parsed.line_numbers.tolist() == good
    assert [r.line for r in parsed.rejects] == [
        i for i in range(1, len(lines) + 1) if i not in good
    ]
    assert [list(row) for row in parsed.frame.rows()] == [e for e in expected if e is not None]


@given(st.binary(max_size=60).filter(lambda b: b"\n" not in b))
def test_any_bytes_are_explained(line: bytes) -> None:
    assert explain(line, KAGGLE)


def test_excerpts_are_short_and_printable(tmp_path: Path) -> None:
    parsed = parse(b"\xff" * 5000 + b"\n")
    assert parsed.rejects[0].text == "\\xff" * 200
    assert len(parsed.rejects[0].reason) < 200


def test_a_whole_chunk_equals_the_plain_definition() -> None:
    lines = raw_lines(3000, seed=1)
    frame = parse(b"".join(x + b"\n" for x in lines)).frame
    expected = [plain_values(line) for line in lines]
    for i, column in enumerate(frame.columns):
        assert frame[column].to_list() == [e[i] for e in expected if e]
    assert np.array_equal(frame[LABEL].to_numpy(), [e[0] for e in expected if e])


def test_zeros_in_front_are_any_number_of(tmp_path: Path) -> None:
    line = with_field(INTEGER, b"-" + b"0" * 9000 + b"7")
    for text in (line + b"\n", line + b"\nbad\n"):
        parsed = parse(text)
        assert parsed.frame["I3"].to_list() == [-7]
    parsed = parse(with_field(INTEGER, b"0" * 9000) + b"\nbad\n")
    assert parsed.frame["I3"].to_list() == [0]


IDS = {
    b"0": 0,
    b"-7": -7,
    b"0012": 12,
    b"9223372036854775807": 2**63 - 1,
    b"-9223372036854775808": -(2**63),
    b"0" * 5000 + b"1": 1,
}
NO_IDS = {
    b"": "Id is '', expected an integer",
    b"+1": r"Id is '\+1', expected an integer",
    b"a": "Id is 'a', expected an integer",
    b"1.0": r"Id is '1\.0', expected an integer \(pandas",
    b"9223372036854775808": "Id is '9223372036854775808', outside the 64-bit integers",
    b"\xc3\xa9": "Id is 'é', expected an integer",
}


@pytest.mark.parametrize("company", [[], [b"bad"]])
@pytest.mark.parametrize("layout", [KAGGLE_CSV, KAGGLE_CSV_UNLABELLED])
def test_ids_are_checked_and_kept_on_request(layout: Layout, company: list[bytes]) -> None:
    line = VALID_LINE.replace(b"\t", b",")[0 if layout.labelled else 2 :]
    lines = [value + b"," + line for value in IDS] + company
    text = b"".join(line + b"\n" for line in lines)
    kept = parse(text, layout, keep_id=True)
    assert kept.frame["Id"].to_list() == list(IDS.values())
    assert kept.frame["Id"].dtype == pl.Int64
    assert kept.rejected == len(company)
    dropped = parse(text, layout).frame
    assert dropped.equals(kept.frame.drop("Id"))
    for value, reason in NO_IDS.items():
        (found,) = parse(value + b"," + line + b"\n", layout).rejects
        assert re.match(reason, found.reason)


@pytest.mark.parametrize("value", [b"2147483648", b"-2147483649", b"9" * 40, b"+5"])
def test_a_whole_number_is_not_told_to_be_rounded(value: bytes) -> None:
    reason = explain(with_field(INTEGER, value), KAGGLE)
    assert reason is not None
    assert "round" not in reason
    assert "round" in str(explain(with_field(INTEGER, b"1e5"), KAGGLE))
