"""Raw lines to Vowpal Wabbit's text, the converter that it needs.

One namespace with a feature a field, named by its column. Integers are binned as the winners of
Criteo's contest did, ⌊log²⌋ above 2, since a single weight on their value says little.
"""

import math
from collections.abc import Iterable, Iterator

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS

_INTEGERS = len(INTEGER_COLUMNS)


def bin_of(value: bytes) -> bytes:
    """The bin of an integer: itself up to 2, then ⌊log(x)²⌋ beside; a missing one has its own."""
    number = int(value or -9)
    return b"%d" % number if number <= 2 else b"s%d" % int(math.log(number) ** 2)


def vw_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """A line in VW's format for each labelled raw line."""
    names = [name.encode() for name in CATEGORICAL_COLUMNS]
    bins: dict[bytes, bytes] = {}
    prefixes = [name.encode() for name in INTEGER_COLUMNS]
    for line in lines:
        label, *fields = line.rstrip(b"\r\n").split(b"\t")
        features = [b"1 |f" if label == b"1" else b"-1 |f"]
        for prefix, value in zip(prefixes, fields, strict=False):
            found = bins.get(value)
            if found is None:
                found = bins[value] = bin_of(value)
            features.append(prefix + b"_" + found)
        features += [n + b"_" + v for n, v in zip(names, fields[_INTEGERS:], strict=True)]
        yield b" ".join(features) + b"\n"
