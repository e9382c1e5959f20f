import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.raw.chunks import read_chunks
from criteo_stream.raw.detect_layout import detect_layout, layout_of
from criteo_stream.raw.headers import sample_lines
from criteo_stream.raw.layouts import (
    KAGGLE,
    KAGGLE_CSV,
    KAGGLE_CSV_UNLABELLED,
    KAGGLE_UNLABELLED,
    RECZOO,
    RECZOO_UNLABELLED,
    TERABYTE,
)
from tests.support.raw_lines import (
    VALID_LINE,
    beginning_of,
    kaggle_csv_lines,
    raw_lines,
    reczoo_lines,
    unlabelled,
    with_field,
    write_raw,
)

NAMES = reczoo_lines([])[0]


def test_layouts_are_recognised_from_the_first_lines(tmp_path: Path) -> None:
    lines = raw_lines(200)
    stripped = [line.rstrip(b"\t") for line in lines]
    crlf = [line + b"\r" for line in lines]
    for number, (name, content, layout) in enumerate(
        [
            ("train.txt", lines, KAGGLE),
            ("crlf.txt", crlf, KAGGLE),
            ("stripped.txt", stripped, KAGGLE),
            ("test.txt", unlabelled(lines), KAGGLE_UNLABELLED),
            ("day_3", lines, TERABYTE),
            ("one.txt", lines[:1], KAGGLE),
            ("x4.csv", reczoo_lines(lines), RECZOO),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert detect_layout(beginning_of(write_raw(folder / name, content))) == layout


NO_LOGS = {
    "csv": (b"a,b,c\n1,2,3\n", r"line 1: 1 field instead of 40; it begins 'a,b,c' and"),
    "blank": (b"\n\n\n", r"line 1: the line is blank"),
    "numbers": (b"1\n2\n", r"line 1: 1 field instead of 40"),
    "endless": (b"x" * 100_000, r"line 1: 1 field instead of 40"),
    "longer than what is looked at": (b"x" * 9_000_000, r"line 1: the line is longer than 1 MiB"),
    "old Mac": (b"\r".join([VALID_LINE] * 3), r"line 1: 118 fields .*ends are carriage returns"),
    "130 fields": (VALID_LINE + b"\t" * 90 + b"\n", r"line 1: 130 fields instead of 40"),
}


@pytest.mark.parametrize("case", NO_LOGS)
def test_what_is_not_criteo_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    content, reason = NO_LOGS[case]
    (tmp_path / "log.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"log\.txt, {reason}.*not a Criteo click log"):
        detect_layout(beginning_of(tmp_path / "log.txt"))


OTHER_PROGRAMS = {
    "labels -1": (with_field(0, b"-1"), "label is '-1', expected 0 or 1 .*sed 's/.-1/0/'"),
    "pandas": (with_field(2, b"3.0"), r"I2 is '3\.0', expected an integer .*pandas .*Int64"),
    "a float": (with_field(2, b"3.5"), r"I2 is '3\.5', expected an integer \(round or scale"),
    "hive": (with_field(5, rb"\N"), r"I5 is .*N', expected an integer .*Hive's .*sed 's/..N//g'"),
    "hive, C": (with_field(15, rb"\N"), r"C2 is .*N', expected 8 hex digits .*Hive's"),
    "null": (with_field(5, b"NULL"), "I5 is 'NULL', expected .*a missing value is an empty field"),
    "nan": (with_field(15, b"nan"), "C2 is 'nan', expected .*a missing value is an empty field"),
    "quotes": (with_field(1, b'"5"'), "I1 is '\"5\"', expected an integer .*without quotes"),
    "BOM": (b"\xef\xbb\xbf" + VALID_LINE, r"label is '.ufeff1', expected .*byte order mark: sed"),
    "no label": (with_field(1, b"x", VALID_LINE).split(b"\t", 1)[1], "I1 is 'x', expected an int"),
}


@pytest.mark.parametrize("case", OTHER_PROGRAMS)
@pytest.mark.parametrize("place", [1, 3])
def test_what_other_programs_write_is_named_with_what_to_do(
    tmp_path: Path, case: str, place: int
) -> None:
    line, reason = OTHER_PROGRAMS[case]
    good = VALID_LINE if line.count(b"\t") == 39 else unlabelled([VALID_LINE])[0]
    path = write_raw(tmp_path / "log.txt", [*[good] * (place - 1), *[line] * 9])
    with pytest.raises(InputError, match=rf"log\.txt, line {place}: {reason}"):
        detect_layout(beginning_of(path))


def test_the_form_with_ids_is_recognised_by_its_header(tmp_path: Path) -> None:
    for label, layout in ((b"Label,", KAGGLE_CSV), (b"label,", KAGGLE_CSV), (b"", None)):
        lines = kaggle_csv_lines(raw_lines(20), label=label)
        found = detect_layout(beginning_of(write_raw(tmp_path / "train.csv", lines)))
        assert found == (layout or KAGGLE_CSV_UNLABELLED)
    bare = [b",".join(x.split(b",")[1:]) for x in kaggle_csv_lines(raw_lines(20), label=b"")]
    found = detect_layout(beginning_of(write_raw(tmp_path / "test.csv", bare)))
    assert found == RECZOO_UNLABELLED


OTHER_HEADERS = {
    "pandas' index": (b",label,I1" + b",x" * 38, r"a column that has no name .*index=False"),
    "quotes": (b'"label","I1"' + b",x" * 38, r"the header has quotes \('\"label\"'\)"),
    "another label": (
        b"click" + NAMES[5:],
        "column 1 of the header is 'click', expected label",
    ),
    "a column left out": (
        b"Id,Label,I2" + b",x" * 38,
        "column 3 of the header is 'I2', expected I1",
    ),
    "only the first": (b"label,int_0,int_1", "column 2 of the header is 'int_0', expected I1"),
    "short": (NAMES[: -len(",C26")], "header ends after 39 columns, expected C26 next"),
    "long": (NAMES + b",day", "header goes on behind C26 with 'day'"),
    "label last": (NAMES[6:] + b",label", "header goes on behind C26 with 'label'"),
    "other names": (b"y," + b",".join(b"x%d" % i for i in range(39)), "column 1 of the header is"),
    "Id and tabs": (
        b"Id\t" + NAMES.replace(b",", b"\t"),
        r"an Id goes with commas only \(cut -f 2-",
    ),
    "semicolons": (NAMES.replace(b",", b";"), r"separated by semicolons, expected tabs: tr ';'"),
}


@pytest.mark.parametrize("case", OTHER_HEADERS)
def test_another_header_is_refused_by_its_first_wrong_column(tmp_path: Path, case: str) -> None:
    first, reason = OTHER_HEADERS[case]
    lines = [first, *reczoo_lines(raw_lines(3))[1:]]
    with pytest.raises(InputError, match=rf"x\.csv, line 1: .*{reason}"):
        detect_layout(beginning_of(write_raw(tmp_path / "x.csv", lines)))


@pytest.mark.parametrize("make", [bytes, bytes.lower, bytes.upper, b"\xef\xbb\xbf".__add__])
@pytest.mark.parametrize("end", [b"", b"\r"])
def test_headers_are_known_in_any_case_with_tabs_and_behind_a_byte_order_mark(
    tmp_path: Path, make: Callable[[bytes], bytes], end: bytes
) -> None:
    lines = raw_lines(20)
    tabs = [x.replace(b",", b"\t") for x in (NAMES, NAMES[6:])]
    for header, rows, name, layout in (
        (NAMES, reczoo_lines(lines)[1:], "x.csv", RECZOO),
        (tabs[0], lines, "x.tsv", KAGGLE),
        (tabs[0], lines, "day_3", TERABYTE),
        (tabs[1], unlabelled(lines), "y.tsv", KAGGLE_UNLABELLED),
    ):
        beginning = beginning_of(
            write_raw(tmp_path / name, [x + end for x in (make(header), *rows)])
        )
        assert detect_layout(beginning) == layout
        assert sample_lines(beginning) == rows
        (chunk,) = read_chunks(beginning)
        assert (chunk.header_lines, chunk.first_line, chunk.lines) == (1, 0, 20)


def test_parts_of_a_file_with_a_header_need_none(tmp_path: Path) -> None:
    for number, lines in enumerate(
        (
            raw_lines(90),
            reczoo_lines(raw_lines(90))[1:],
            [x.split(b",", 1)[1] for x in reczoo_lines(raw_lines(90))[1:]],
            kaggle_csv_lines(raw_lines(90))[1:],
        )
    ):
        path = write_raw(tmp_path / f"{number}.csv", lines)
        form = (KAGGLE, RECZOO, RECZOO_UNLABELLED, KAGGLE_CSV)[number]
        assert detect_layout(beginning_of(path)) == form
        header = form.separator.join(column.encode() for column in form.columns)
        with_header = write_raw(tmp_path / f"{number}-0.csv", [header, *lines])
        assert layout_of([beginning_of(with_header), beginning_of(path)]) == form


def test_an_unknown_label_does_not_pass_for_an_id(tmp_path: Path) -> None:
    for label in (b"-1", b"2"):
        lines = [x.replace(b"\t", b",") for x in (with_field(0, label), VALID_LINE, VALID_LINE)]
        path = write_raw(tmp_path / "x.csv", [lines[0]] * 9 + lines)
        with pytest.raises(InputError, match=f"line 1: label is '{label.decode()}', expected 0"):
            detect_layout(beginning_of(path))


SEPARATORS = {b";": "semicolons", b"|": "vertical bars", b"\x01": "Ctrl-A", b" ": "spaces"}


@pytest.mark.parametrize("separator", SEPARATORS)
def test_another_separator_is_named_with_the_command_that_replaces_it(
    tmp_path: Path, separator: bytes
) -> None:
    lines = [line.replace(b"\t", separator) for line in raw_lines(9)]
    path = write_raw(tmp_path / "log.txt", lines)
    words = rf"line 1: 1 field instead of 40 \(its fields are separated by {SEPARATORS[separator]}"
    with pytest.raises(InputError, match=words) as refused:
        detect_layout(beginning_of(path))
    (command,) = re.findall(r"(tr .*) < FILE", str(refused.value))
    with path.open("rb") as file:
        converted = subprocess.run(
            shlex.split(command), stdin=file, capture_output=True, check=True
        )
    assert converted.stdout.splitlines() == raw_lines(9)


def test_quotes_are_named_where_other_separators_alone_would_leave_them(tmp_path: Path) -> None:
    lines = [b'"' + line.replace(b"\t", b'","') + b'"' for line in raw_lines(9)]
    with pytest.raises(InputError, match="its fields are quoted: write them without") as refused:
        detect_layout(beginning_of(write_raw(tmp_path / "log.csv", lines)))
    assert "tr '" not in str(refused.value)


def test_layouts_do_not_mix(tmp_path: Path) -> None:
    lines = raw_lines(20)
    train = beginning_of(write_raw(tmp_path / "train.txt", lines))
    test = beginning_of(write_raw(tmp_path / "test.txt", unlabelled(lines)))
    day = beginning_of(write_raw(tmp_path / "day_0", lines))
    with pytest.raises(InputError, match=r"train\.txt has 40 fields a line, .*test\.txt has 39"):
        layout_of([train, test])
    assert layout_of([train, day]) == KAGGLE
    assert layout_of([day]) == TERABYTE
    assert layout_of([day], "kaggle") == KAGGLE
    assert layout_of([train], "terabyte") == TERABYTE
    csv = beginning_of(write_raw(tmp_path / "x4.csv", reczoo_lines(lines)))
    assert layout_of([csv]) == layout_of([csv], "reczoo") == RECZOO
    for sources, wanted in (([train, csv], "auto"), ([csv], "kaggle"), ([train], "reczoo")):
        with pytest.raises(InputError, match="is of the layout"):
            layout_of(sources, wanted)
    known = "auto, kaggle, terabyte, reczoo, kaggle-csv"
    with pytest.raises(UsageError, match=f"--layout reczo is not known: use {known}"):
        layout_of([train], "reczo")
