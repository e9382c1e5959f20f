"""Synthetic rows: chunk by chunk, each from its own counter-based random numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import FEATURE_COLUMNS
from criteo_stream.synthetic.drift import DAY_ROWS, Day, drifted
from criteo_stream.synthetic.lines import LineFormatter
from criteo_stream.synthetic.marginals import MARGINALS, MISSING, InverseTable
from criteo_stream.synthetic.teacher import Teacher

CHUNK_ROWS: Final = 2**16
"""Rows drawn together; part of what a seed means, as is the order of the random numbers."""
_WORDS: Final = len(FEATURE_COLUMNS) + 1 + len(MISSING) // 2
"""Uniform 32-bit numbers of a row: a value per column, the label, two missing groups in one."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a synthetic log."""

    lines: bytes
    """The rows as Criteo's text, each with its newline."""
    labels: NDArray[np.bool_]  # [rows]
    logit_cells: NDArray[np.uint16]  # [rows], see teacher.LOGIT_CELLS

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """[rows] the true click probabilities."""
        return teacher().probabilities.take(self.logit_cells)


def generate(
    rows: int, seed: int, start: int = 0, *, labelled: bool = True, day: Day | None = None
) -> Iterator[Chunk]:
    """Draw the rows ``start`` … ``start + rows − 1`` of the endless log that a seed means.

    A row depends on the seed and its number alone. Memory is that of one chunk.

    Args:
        rows: how many.
        seed: 0 … 2^64 − 1.
        start: number of the first row.
        labelled: lines with the label (40 columns), or without (39).
        day: whose rows they are, numbered from its first; default the log without days.

    Raises:
        UsageError: a number is out of its range.
    """
    for name, value, end in (
        ("number of rows", rows, 2**63),
        ("first row", start, 2**63),
        ("seed", seed, 2**64),
    ):
        if not hasattr(value, "__index__") or not 0 <= value < end:
            raise UsageError(f"the {name} is out of range: give a whole number from 0 to {end - 1}")
    if day is not None and start + rows > DAY_ROWS:
        raise UsageError(f"a day has at most {DAY_ROWS:,} rows")
    return _generate(rows, seed, start + (day.start if day else 0), labelled, day)


def _generate(rows: int, seed: int, start: int, labelled: bool, day: Day | None) -> Iterator[Chunk]:
    formatter = LineFormatter(min(rows, CHUNK_ROWS), labelled=labelled)
    end = start + rows
    while start < end:
        index, first = divmod(start, CHUNK_ROWS)
        part = slice(first, min(CHUNK_ROWS, first + end - start))
        uniform = _uniform(seed, index)
        ranks = [table.ranks(u[part]) for table, u in zip(_inverses(), uniform, strict=False)]
        missing = _missing(uniform[len(FEATURE_COLUMNS) + 1 :], part)
        shown = ranks
        if day is not None:
            shown, ranks = drifted(day, seed, index, part, ranks)
        cells = teacher().logit_cells(ranks, missing)
        labels = uniform[len(FEATURE_COLUMNS), part] < teacher().thresholds.take(cells)
        yield Chunk(formatter.format(labels, shown, missing), labels, cells)
        start += len(labels)


def _uniform(seed: int, index: int) -> NDArray[np.uint32]:
    """[_WORDS, CHUNK_ROWS] random numbers of a chunk."""
    bits = np.random.Philox(key=np.array([seed, index], dtype=np.uint64))
    raw = bits.random_raw(_WORDS * CHUNK_ROWS // 2)
    return raw.view(np.uint32).reshape(_WORDS, CHUNK_ROWS)


def _missing(uniform: NDArray[np.uint32], part: slice) -> list[NDArray[np.bool_] | None]:
    """Per feature column, the rows of a chunk's part without a value; None where there are none."""
    of_column: dict[str, NDArray[np.bool_]] = {}
    masks: list[NDArray[np.bool_]] = []
    for group, u in zip(MISSING, uniform.view(np.uint16).reshape(-1, CHUNK_ROWS), strict=True):
        rates = np.array([group.rate, group.rate_if_missing]) * 2**16
        threshold = np.round(rates).astype(np.uint16)
        parent = 0 if group.parent is None else masks[group.parent].view(np.uint8)
        masks.append(u[part] < threshold.take(parent))
        of_column |= dict.fromkeys(group.columns, masks[-1])
    return [of_column.get(column) for column in FEATURE_COLUMNS]


@cache
def teacher() -> Teacher:
    """The one teacher (built on first use)."""
    return Teacher()


@cache
def _inverses() -> list[InverseTable]:
    return [MARGINALS[column].inverse() for column in FEATURE_COLUMNS]
