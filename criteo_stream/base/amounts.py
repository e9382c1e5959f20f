"""Amounts as people write them: 2GB of memory, 500k rows."""

import re
from typing import Final

from criteo_stream.base.errors import UsageError

_FACTORS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(text: str) -> int:
    """Bytes of a size in human units: ``2GB``, ``500MB``, ``1.5g``, ``4GiB``, or plain bytes.

    Raises:
        UsageError: the text is not a size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    if not match or (match[3] and not match[2]):
        raise UsageError(f"{text!r} is not a size: write it like 2GB, 500MB or 1.5GiB")
    power = "_KMGT".index(match[2]) if match[2] else 0
    return int(float(match[1]) * (1024**power if match[3] else _FACTORS[match[2]]))


def format_size(size: float) -> str:
    """A size in human units: 1,234,567,890 → ``1.23 GB``."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{int(size)} bytes"


def parse_rows(text: str) -> int:
    """A number of rows in human units: ``500k``, ``2M``, ``4.4G``, or plain digits.

    Raises:
        UsageError: the text is not a whole number of rows above zero.
    """
    match = re.fullmatch(r"\s*([0-9_,]*\.?[0-9]+)\s*([KMG]?)\s*", text.upper())
    rows = float(re.sub("[_,]", "", match[1])) * _FACTORS[match[2]] if match else 0.0
    if not rows or not rows.is_integer():
        raise UsageError(f"{text!r} is not a number of rows: write it like 500k, 2M or 45840617")
    return int(rows)
