"""The CRC-32 of two texts together, from those of each: so that many threads can compute parts.

A CRC is a remainder of polynomials over GF(2). To append n bytes is to multiply by x^(8n), and to
add what the bytes give of themselves; zlib's ``crc32_combine`` does the same.
"""

from functools import lru_cache
from typing import Final

_POLYNOMIAL: Final = 0xEDB88320
"""Of zlib, with the coefficient of x^0 as the highest of its 32 bits."""
_ONE: Final = 1 << 31


def crc32_of_both(first: int, second: int, second_bytes: int) -> int:
    """CRC-32 of two texts one after the other.

    Args:
        first: CRC-32 of the first.
        second: of the second.
        second_bytes: length of the second.
    """
    return _times(first, _shift(second_bytes)) ^ second


@lru_cache(1024)
def _shift(count: int) -> int:
    """x^(8 · count), by squaring."""
    power, result = 1 << 23, _ONE  # x^8, x^0
    while count:
        if count & 1:
            result = _times(result, power)
        power = _times(power, power)
        count >>= 1
    return result


def _times(a: int, b: int) -> int:
    """Product of two polynomials modulo `_POLYNOMIAL`."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
