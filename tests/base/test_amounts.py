"""Amounts: what people write is read exactly, what is printed can be read back."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.amounts import counted, format_size, parse_rows, parse_size
from criteo_stream.base.errors import UsageError

SIZES = st.one_of(st.integers(0, 10**18), st.integers(0, 60).map(lambda power: 2**power))
FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


@given(st.integers(1, 10**12), st.sampled_from(list(FACTORS)))
def test_rows_written_in_any_unit_are_the_same_rows(rows: int, unit: str) -> None:
    written = f"{Decimal(rows) / FACTORS[unit]:f}"
    assert parse_rows(written + unit) == rows
    assert parse_rows(f"  {written} {unit.upper()}\n") == rows


@given(st.integers(1, 10**15))
def test_digits_may_stand_in_groups_of_three(number: int) -> None:
    assert parse_rows(f"{number:,}") == parse_rows(f"{number:_}") == number
    assert parse_size(f"{number:,}") == parse_size(f"{number:_} B") == number
    assert parse_size(f"{number:,}.5kB") == number * 1000 + 500


def test_every_thousandth_is_exact() -> None:
    # As a float product, one in forty of these is not a whole number: 64.1 * 1000.
    assert all(parse_rows(f"{n // 10}.{n % 10}k") == n * 100 for n in range(1, 100_000))


@pytest.mark.parametrize("text", ["9223372036854775808", "9" * 30, "9" * 400 + "G", "9" * 5000])
def test_more_rows_than_64_bits_count_are_refused(text: str) -> None:
    assert parse_rows("9223372036854775807") == 2**63 - 1
    with pytest.raises(UsageError) as caught:
        parse_rows(text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("7", 7),
        ("2GB", 2 * 10**9),
        ("500 mb", 500 * 10**6),
        ("1.5g", 1_500_000_000),
        (".5k", 500),
        ("4GiB", 4 * 2**30),
        ("4gi", 4 * 2**30),
        ("1.1TB", 1_100_000_000_000),
        ("1.1TiB", 1_209_462_790_553),
        ("9007199254740993", 2**53 + 1),
        ("9007.199254740993TB", 2**53 + 1),
        ("1.9", 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(SIZES, st.sampled_from(["K", "M", "G", "T"]))
def test_sizes_of_binary_units_are_exact(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}iB") == number * 1024 ** ("KMGT".index(unit) + 1)
    assert parse_size(f"{number}{unit}B") == number * 1000 ** ("KMGT".index(unit) + 1)


NONSENSE = [
    "", " ", "k", "GB", ".", "1.", "-1", "+1", "1e3", "0x10", "nan", "inf", "1.5.2", "2 cats",
    ",5", "1,,5", "1,", "_1", "1__000", "1,5", "1,5k", "1000,000", "1_0", "1,000_000",  # groups
    "\uff11\uff10", "\u0661", "\u00b2", "1\u212a", "1\u0131", "\u00bd",  # not ASCII
    "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", [*NONSENSE, "0", "0k", "1.5", "1.2345k", "0.0001k", "5B", "5T"])
def test_what_is_no_number_of_rows_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rows(text)
    assert str(caught.value) == (
        f"{text[:40]!r} is not a number of rows: write it like 500k, 2M or 45840617"
    )


@pytest.mark.parametrize("text", [*NONSENSE, "4I", "4IB", "4BB", "4KK", "4P", "4BiB"])
def test_what_is_no_size_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert str(caught.value) == f"{text[:40]!r} is not a size: write it like 2GB, 500MB or 1.5GiB"


@given(st.text())
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    for parse in (parse_rows, parse_size):
        try:
            assert parse(text) >= 0
        except UsageError:
            continue


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (999.9, "999 bytes"),
        (1000, "1 kB"),
        (1_234_567_890, "1.23 GB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (999_999_999, "1 GB"),
        (999.4e9, "999 GB"),
        (999.9e9, "1 TB"),
        (999.9e12, "1,000 TB"),
        (1.5e15, "1,500 TB"),
    ],
)
def test_sizes_are_printed_to_three_digits(size: float, text: str) -> None:
    assert format_size(size) == text


@given(SIZES)
def test_a_printed_size_is_read_back_to_three_digits(size: int) -> None:
    text = format_size(size)
    assert re.fullmatch(r"\d{1,3} bytes|(\d\.\d\d?|\d\d\.\d|[1-9]\d{0,2}) [kMG]B|[\d.,]+ TB", text)
    again = parse_size(text.removesuffix("ytes"))
    assert abs(again - size) * 200 <= size
    assert format_size(again) == text


@given(SIZES, SIZES)
def test_a_larger_size_is_never_printed_smaller(one: int, other: int) -> None:
    printed = [parse_size(format_size(n).removesuffix("ytes")) for n in sorted((one, other))]
    assert printed == sorted(printed)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1234567, "1,234,567 rows")]
)
def test_one_is_not_several(count: int, text: str) -> None:
    assert counted(count, "row") == text
    assert counted(count, "entry", "entries").endswith("entry" if count == 1 else "entries")
