"""The hidden factorization machine that gives every synthetic row its click probability.

The formula is in the package's docstring; this module is its one implementation.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.synthetic.marginals import MARGINALS

TEACHER_NAME: Final = "criteo-stream-fm-1"
"""Names the formula with all its constants: whoever changes one gives it a new name."""

_KEY: Final = 0x7465616368657221
_BIAS: Final = -2.445
_LINEAR_SCALE: Final = 0.29
_VECTOR_SCALE: Final = 0.148
_LINEAR_RANKS: Final = 300
_VECTOR_RANKS: Final = 20
_DIMENSION: Final = 4

_OWN_EFFECTS: Final = 2**13
"""Ids from this rank on share the effects of the ids in the upper half below it."""
_LEVELS: Final = 256
"""Steps of an integer's cumulative share."""
_POINTS: Final = 9
"""Random values along an integer's cumulative share; linear between them."""
_INTEGER_RANKS: Final = 2**16
"""Integers beyond these act like the last of them."""

_LIMIT: Final = 8
_STEPS: Final = 2**12
LOGIT_CELLS: Final = 2 * _LIMIT * _STEPS
"""Different logits that a row can have: the middles of 2^16 cells from -8 to 8."""


class Teacher:
    """Click probabilities of rows given as ranks."""

    def __init__(self) -> None:
        self._effects = [
            *(_integer_effects(column) for column in range(len(INTEGER_COLUMNS))),
            *(_id_effects(len(INTEGER_COLUMNS) + c) for c in range(len(CATEGORICAL_COLUMNS))),
        ]
        self._levels = [_integer_levels(column) for column in INTEGER_COLUMNS]
        logits = (np.arange(LOGIT_CELLS) + 0.5) / _STEPS - _LIMIT
        self.thresholds = np.round(2.0**32 / (1 + np.exp(-logits))).astype(np.uint32)
        """[LOGIT_CELLS] a row is a click if its uniform 32-bit number is below this one."""
        self.probabilities = self.thresholds / 2.0**32
        """[LOGIT_CELLS] float64 click probability: exactly that of ``thresholds``."""

    def logit_cells(
        self, ranks: Sequence[NDArray[np.uint32]], missing: Sequence[NDArray[np.bool_] | None]
    ) -> NDArray[np.uint16]:
        """The cell of every row's logit.

        Args:
            ranks: per feature column, [rows].
            missing: per feature column, [rows], or None for a column that never is.
        """
        total = np.zeros((len(ranks[0]), 1 + _DIMENSION), dtype=np.float32)
        for column, effects in enumerate(self._effects):
            index = self._index(column, ranks[column])
            mask = missing[column]
            if mask is not None:
                index[mask] = len(effects) - 1
            total += effects.take(index, axis=0)
        # Plain elementwise float32 sums in a fixed order: the same on every machine.
        logit = total[:, 0] + np.float32(_BIAS)
        for vector_sum in total[:, 1:].T:
            logit += np.float32(0.5) * vector_sum * vector_sum
        cell: NDArray[np.float32] = (logit + np.float32(_LIMIT)) * np.float32(_STEPS)
        return cell.clip(0, LOGIT_CELLS - 1).astype(np.uint16)

    def _index(self, column: int, ranks: NDArray[np.uint32]) -> NDArray[np.uint32]:
        if column < len(self._levels):
            return self._levels[column].take(ranks, mode="clip").astype(np.uint32)
        half = np.uint32(_OWN_EFFECTS // 2)
        return np.where(ranks < 2 * half, ranks, half + ranks % half)


def _normals(column: int, rows: int) -> NDArray[np.float64]:
    """[rows, 1 + dimension] nearly normal numbers: standardised sums of eight uniform bytes.

    Not NumPy's own normals, which another version may draw differently.
    """
    bits = np.random.Philox(key=np.array([_KEY, column], dtype=np.uint64))
    raw = bits.random_raw(rows * (1 + _DIMENSION))
    sums = raw.view(np.uint8).reshape(rows, 1 + _DIMENSION, 8).sum(axis=2, dtype=np.int64)
    normals: NDArray[np.float64] = (sums - 8 * 127.5) / np.sqrt(8 * (256**2 - 1) / 12)
    return normals


def _id_effects(column: int) -> NDArray[np.float32]:
    ids = min(MARGINALS[FEATURE_COLUMNS[column]].size, _OWN_EFFECTS)
    rank = np.append(np.arange(ids), 0)[:, None]  # the last row is for missing
    normals = _normals(column, ids + 1)
    return _effects(
        normals[:, :1] / (1 + rank / _LINEAR_RANKS), normals[:, 1:] / (1 + rank / _VECTOR_RANKS)
    )


def _integer_effects(column: int) -> NDArray[np.float32]:
    normals = _normals(column, _POINTS + 1)
    share = (np.arange(_LEVELS) + 0.5) / _LEVELS
    at = np.arange(_POINTS) / (_POINTS - 1)
    curves = np.stack([np.interp(share, at, points) for points in normals[:-1].T], axis=1)
    curves = np.append(curves, normals[-1:], axis=0)  # the last row is for missing
    return _effects(curves[:, :1], curves[:, 1:])


def _effects(linear: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """[rows, 1 + dimension]: w − ½|v|², and v, so that a row's logit is b + Σ w' + ½ |Σ v|²."""
    vectors = _VECTOR_SCALE * vectors
    own = _LINEAR_SCALE * linear - 0.5 * np.square(vectors).sum(axis=1, keepdims=True)
    return np.concatenate([own, vectors], axis=1, dtype=np.float32)


def _integer_levels(column: str) -> NDArray[np.uint8]:
    """The level of every rank of an integer: its mean cumulative share, in steps."""
    marginal = MARGINALS[column]
    up_to = marginal.share_of_first(np.arange(1, min(marginal.size, _INTEGER_RANKS) + 1))
    middle: NDArray[np.float64] = (up_to + np.append(0, up_to[:-1])) / 2
    return (middle * _LEVELS).astype(np.uint8)
