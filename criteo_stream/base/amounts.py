"""Amounts as people write and read them: 2GB of memory, 500k rows, 1 run, 2 runs."""

import re
from fractions import Fraction
from typing import Final

from criteo_stream.base.errors import UsageError

_NUMBER: Final = (
    r"\s*(?=\.?[0-9])"
    r"((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:_[0-9]{3})+|[0-9]*)(?:\.[0-9]+)?)\s*"
)
"""Digits, which may stand in groups of three, and a fraction: ``1500``, ``1,500``, ``1.5``."""
_SIZE: Final = re.compile(_NUMBER + r"(?:([KMGTkmgt])([Ii]?))?[Bb]?\s*")
_ROWS: Final = re.compile(_NUMBER + r"([KMGkmg]?)\s*")
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
"""Of 1000, or of 1024 in units such as GiB."""
_MOST_ROWS: Final = 2**63 - 1
_UNITS: Final = (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12))


def parse_size(text: str) -> int:
    """Bytes of a size such as ``2GB``, ``500MB``, ``1.5g``, ``4GiB`` or ``4000000``.

    A fraction of a byte is dropped.

    Raises:
        UsageError: the text is not a size.
    """
    match = _SIZE.fullmatch(text)
    number = _exact(match[1]) if match else None
    if match is None or number is None:
        raise UsageError(f"{text[:40]!r} is not a size: write it like 2GB, 500MB or 1.5GiB")
    return int(number * (1024 if match[3] else 1000) ** _POWERS[(match[2] or "").upper()])


def parse_rows(text: str) -> int:
    """A number of rows such as ``500k``, ``2M``, ``4.4G`` or ``45,840,617``.

    Raises:
        UsageError: the text is not a whole number of rows from 1 to below 2^63.
    """
    match = _ROWS.fullmatch(text)
    number = _exact(match[1]) if match else None
    rows = number * 1000 ** _POWERS[match[2].upper()] if match and number else Fraction(0)
    if rows <= 0 or rows.denominator != 1:
        raise UsageError(
            f"{text[:40]!r} is not a number of rows: write it like 500k, 2M or 45840617"
        )
    if rows > _MOST_ROWS:
        raise UsageError(f"{text[:40]!r} is too large a number of rows")
    return int(rows)


def _exact(number: str) -> Fraction | None:
    """The number itself, where a float would be off; None where it has thousands of digits."""
    try:
        return Fraction(re.sub("[,_]", "", number))
    except ValueError:  # Python's limit on the digits of an integer
        return None


def format_size(size: float) -> str:
    """Bytes to three digits, for people: 1,234,567,890 is ``1.23 GB``."""
    if size < 1000:
        return f"{int(size)} bytes"
    for unit, factor in _UNITS:
        text = f"{max(1, size / factor):.3g}"
        if "e" not in text:  # else it rounds to 1000, which is 1 of the next unit
            return f"{text} {unit}"
    return f"{size / 1e12:,.0f} TB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """How many there are of something: ``1 row``, ``1,234 rows``.

    Args:
        count: of them.
        noun: what one of them is called.
        plural: what several are called, where that is not the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
