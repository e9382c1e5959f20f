"""Sizes of dense layers, as ``--hidden`` gives them."""

import re
from typing import Final

from criteo_stream.base.errors import UsageError

LARGEST_LAYER: Final = 1 << 20
"""Largest layer, longest vector and most bins: beyond, the sizes of tables overflow."""
_MOST_LAYERS: Final = 100


def layer_sizes(text: str) -> tuple[int, ...]:
    """The sizes in a text like ``64,32``.

    Raises:
        UsageError: they are no sizes, too large, or too many.
    """
    told = f"--hidden is {text[:80]!r}"
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text, re.ASCII):
        raise UsageError(f"{told}, expected sizes like 64,32")
    sizes = text.split(",")
    # Length first: Python refuses to read numbers of thousands of digits.
    too_large = any(len(size) > 7 or int(size) > LARGEST_LAYER for size in sizes)
    if too_large or len(sizes) > _MOST_LAYERS:
        raise UsageError(
            f"{told}, expected at most {_MOST_LAYERS} layers of at most {LARGEST_LAYER:,}"
        )
    return tuple(map(int, sizes))
