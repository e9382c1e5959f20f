"""Values that come and go from day to day, as ads and campaigns do.

Every value of a column of 100 values or more lives for about 1 / drift days; then another one, seen
nowhere before, takes its frequency over. The change is spread over `FADING_DAYS`: a row of day t
sees the values as of a moment up to so many days before t. So from one day to the next a share
``drift`` of a column's values begin to be replaced, each as frequent as it is.

A value of rank r in generation g is that of rank r + g · S, S being the column's size, and acts on
clicks like the value of a rank near r (the same 16, moved by 7 g): effects are its own, and stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.synthetic.lines import value_of_rank
from criteo_stream.synthetic.marginals import MARGINALS

FADING_DAYS: Final = 2
SMALLEST: Final = 100
"""Columns of fewer values stay as they are."""
DAY_ROWS: Final = 2**40
"""Rows of a seed's endless log between the first ones of two days."""
MOST_DAYS: Final = 4096

_MOMENT: Final = 2**16
"""Steps of a day."""
_PHASE_COLUMN: Final = 1000
"""A column that no log has: its values are random numbers for `_phases`."""
_NEAR: Final = 16
_KEY: Final = 0x6461792D64726966

Ranks = NDArray[np.uint32]


@dataclass(frozen=True)
class Day:
    """One day of a drifting log.

    Raises:
        UsageError: a number is out of its range.
    """

    number: int
    """Counted from 0; on day 0 nothing has been replaced."""
    drift: float
    """Share of the values that begin to be replaced per day, 0 to below 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.number < MOST_DAYS:
            raise UsageError(f"the day is {self.number}, expected 0 to {MOST_DAYS - 1}")
        if not 0 <= self.drift < 1:
            raise UsageError(f"the drift is {self.drift:g}, expected a number from 0 to below 1")

    @property
    def start(self) -> int:
        """Number of its first row in a seed's endless log."""
        return self.number * DAY_ROWS

    def moments(self, seed: int, index: int, rows: int) -> NDArray[np.uint64]:
        """When each row of a chunk sees the values: steps since the first day."""
        bits = np.random.Philox(key=np.array([seed ^ _KEY, index], dtype=np.uint64))
        before = bits.random_raw(-(-rows // 4)).view(np.uint16)[:rows].astype(np.int64)
        moment = self.number * _MOMENT - FADING_DAYS * before
        return np.maximum(moment, 0).astype(np.uint64)

    def generations(self, column: int, ranks: Ranks, moments: NDArray[np.uint64]) -> Ranks:
        """How often the value of each rank has been replaced, uint32 [rows]."""
        if self.drift == 0 or not drifts(column):
            return np.zeros(len(ranks), np.uint32)
        phase = value_of_rank(ranks, _PHASE_COLUMN + column).astype(np.uint64)
        passed = phase + (moments * self._share >> np.uint64(16))
        return (passed >> np.uint64(32)).astype(np.uint32)

    @cached_property
    def _share(self) -> np.uint64:
        return np.uint64(round(self.drift * 2**32))


def drifts(column: int) -> bool:
    """Whether a feature column's values come and go; ``column`` is its number from 0."""
    is_categorical = column >= len(INTEGER_COLUMNS)
    return is_categorical and MARGINALS[FEATURE_COLUMNS[column]].size >= SMALLEST


def values_of(column: int, ranks: Ranks, generations: Ranks) -> Ranks:
    """Ranks of the values that stand in for those of a generation; see the module."""
    size = np.uint32(MARGINALS[FEATURE_COLUMNS[column]].size)
    return ranks + generations * size


def effects_of(column: int, ranks: Ranks, generations: Ranks) -> Ranks:
    """Ranks of the values that those of a generation act like."""
    size = np.uint32(MARGINALS[FEATURE_COLUMNS[column]].size)
    inside = np.uint32(_NEAR - 1)
    near = (ranks & ~inside) | ((ranks + np.uint32(7) * generations) & inside)
    return np.where(near < size, near, ranks)


def drifted(
    day: Day, seed: int, index: int, part: slice, ranks: Sequence[Ranks]
) -> tuple[list[Ranks], list[Ranks]]:
    """Per feature column, what stands in for each rank in the lines, and in the labels.

    Args:
        day: of the rows.
        seed: of the log.
        index: number of the chunk.
        part: the rows of it that are asked for.
        ranks: per feature column, of these rows.
    """
    moments = day.moments(seed, index, part.stop)[part]
    shown, acting = list(ranks), list(ranks)
    for column in range(len(INTEGER_COLUMNS), len(INTEGER_COLUMNS) + len(CATEGORICAL_COLUMNS)):
        generations = day.generations(column, ranks[column], moments)
        if generations.any():
            shown[column] = values_of(column, ranks[column], generations)
            acting[column] = effects_of(column, ranks[column], generations)
    return shown, acting
