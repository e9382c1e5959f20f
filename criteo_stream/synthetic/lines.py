"""Rows as Criteo's text: assembled in fixed slots, then squeezed.

Every field has a slot of a tab and eight bytes; what a value does not fill stays NUL, and one
``bytes.translate`` over the whole chunk drops the NULs. That is several times faster than
formatting numbers one by one.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.synthetic.marginals import MARGINALS

_SLOT: Final = 9
_LINE: Final = 1 + _SLOT * len(FEATURE_COLUMNS) + 1  # label, fields, newline
_LOWEST: Final = min(MARGINALS[column].first for column in INTEGER_COLUMNS)
_TABLED: Final = 2**16


class LineFormatter:
    """Formats rows given as ranks, up to a fixed number of them at a time.

    Args:
        max_rows: rows of the largest chunk.
        labelled: lines with the label (40 columns), or without (39).
    """

    def __init__(self, max_rows: int, *, labelled: bool = True) -> None:
        self._labelled = labelled
        self._lines = np.zeros((max_rows, _LINE), dtype=np.uint8)
        self._lines[:, 1:-1:_SLOT] = ord("\t")
        self._lines[:, -1] = ord("\n")
        if not labelled:
            self._lines[:, 1] = 0
        # [2^16] uint64: eight characters of an integer · uint32: four hex digits
        self._decimals = np.arange(_LOWEST, _LOWEST + _TABLED).astype("S8").view(np.uint64)
        digits = b"".join(b"%04x" % half for half in range(2**16))
        self._hex = np.frombuffer(digits, dtype=np.uint32)

    def format(
        self,
        labels: NDArray[np.bool_],
        ranks: Sequence[NDArray[np.uint32]],
        missing: Sequence[NDArray[np.bool_] | None],
    ) -> bytes:
        """Lines of the rows; ``ranks`` and ``missing`` per feature column, each [rows]."""
        rows = len(labels)
        if self._labelled:
            self._lines[:rows, 0] = labels + np.uint8(ord("0"))
        for column, name in enumerate(FEATURE_COLUMNS):
            if column < len(INTEGER_COLUMNS):
                text = self._integers(ranks[column], MARGINALS[name].first)
            else:
                text = self._ids(ranks[column], column)
            mask = missing[column]
            if mask is not None:
                text[mask] = 0
            # one field of every line; a plain slice cannot view eight bytes as one number
            slots = np.ndarray(rows, np.uint64, self._lines, 2 + _SLOT * column, (_LINE,))
            slots[:] = text
        return self._lines[:rows].tobytes().translate(None, b"\0")

    def _integers(self, ranks: NDArray[np.uint32], first: int) -> NDArray[np.uint64]:
        row = ranks + np.uint32(first - _LOWEST)
        text = self._decimals.take(row, mode="clip")
        large = np.flatnonzero(row >= _TABLED)
        if len(large):
            text[large] = (row[large].astype(np.int64) + _LOWEST).astype("S8").view(np.uint64)
        return text

    def _ids(self, ranks: NDArray[np.uint32], column: int) -> NDArray[np.uint64]:
        halves = value_of_rank(ranks, column).view(np.uint16)
        return self._hex.take(halves).view(np.uint64)


def value_of_rank(ranks: NDArray[np.uint32], column: int) -> NDArray[np.uint32]:
    """Scatter the ranks of a column over all 32-bit values, one to one.

    The finalizer of MurmurHash3 (Appleby 2011), every step of which can be undone. A line shows
    the two halves of the value in the order of their bytes in memory.
    """
    value = ranks + np.uint32(0x9E3779B9 * (column + 1) & 0xFFFFFFFF)
    value ^= value >> np.uint32(16)
    value *= np.uint32(0x85EBCA6B)
    value ^= value >> np.uint32(13)
    value *= np.uint32(0xC2B2AE35)
    value ^= value >> np.uint32(16)
    return value
