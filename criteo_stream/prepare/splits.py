"""Which split a line belongs to, and in what order a block's rows are written: pure functions.

The split of a line depends on the seed, its input's base name and its line number, or on its
place in the whole; never on other lines, on workers or on where a run was interrupted. Whether a
negative row of the training split is kept depends on the same three, by another hash.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from criteo_stream.base.schema import BLOCK_ROWS

TRAIN: Final = 0
VALID: Final = 1
TEST: Final = 2
THINNED: Final = 3
"""No split: a negative row of the training split that is left out."""

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ROW = np.uint64(BLOCK_ROWS - 1)
"""Bits that hold a row's place in its block."""


@dataclass(frozen=True, kw_only=True)
class HashedSplit:
    """Random fractions by (seed, input, line)."""

    seed: int
    name: str
    """Base name of the input without compression suffix."""
    valid: float
    test: float

    def codes(self, line_numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Per line: TRAIN, VALID or TEST."""
        draw = _random_bits(f"{self.seed}\0{self.name}", line_numbers)
        codes = np.zeros(len(draw), np.uint8)
        codes[draw < _share(self.valid + self.test)] = VALID
        codes[draw < _share(self.test)] = TEST
        return codes


@dataclass(frozen=True, kw_only=True)
class RangeSplit:
    """Lines before ``valid_from`` are training, from ``test_from`` on test, between them valid."""

    valid_from: int
    test_from: int

    def codes(self, line_numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Per line: TRAIN, VALID or TEST."""
        codes = np.full(len(line_numbers), VALID, np.uint8)
        codes[line_numbers < self.valid_from] = TRAIN
        codes[line_numbers >= self.test_from] = TEST
        return codes


Split = HashedSplit | RangeSplit

_NEVER: Final = 2**63 - 1
WHOLLY_TRAIN: Final = RangeSplit(valid_from=_NEVER, test_from=_NEVER)
WHOLLY_VALID: Final = RangeSplit(valid_from=0, test_from=_NEVER)
WHOLLY_TEST: Final = RangeSplit(valid_from=0, test_from=0)


def tail_starts(total: int, valid: float, test: float) -> tuple[int, int]:
    """The first valid and the first test row of so many, counted from 0."""
    test_from = total - int(test * total)
    return test_from - int(valid * total), test_from


def tail_splits(lines: list[int], valid: float, test: float) -> list[RangeSplit]:
    """The last fractions in time order: … train | valid | test, over all inputs end to end."""
    valid_from, test_from = tail_starts(sum(lines), valid, test)
    splits: list[RangeSplit] = []
    start = 0
    for count in lines:
        splits.append(
            RangeSplit(valid_from=valid_from - start + 1, test_from=test_from - start + 1)
        )
        start += count
    return splits


def last_day_split(lines: int) -> RangeSplit:
    """1TB's last day: its first n // 2 lines are valid, the rest test."""
    return RangeSplit(valid_from=0, test_from=lines // 2 + 1)


def thin(
    codes: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    line_numbers: npt.NDArray[np.int64],
    *,
    seed: int,
    name: str,
    keep_negatives: float,
) -> npt.NDArray[np.uint8]:
    """Leave out negative training rows at random, by (seed, input, line).

    Returns:
        Per line: its split's code, or THINNED.
    """
    left_out = _random_bits(f"{seed}\0{name}\0negatives", line_numbers) >= _share(keep_negatives)
    left_out &= (codes == TRAIN) & (labels == 0)
    return np.where(left_out, np.uint8(THINNED), codes)


def written_order(
    codes: npt.NDArray[np.uint8], *, seed: int, name: str, block: int, keep_order: bool
) -> npt.NDArray[np.int64]:
    """The order in which a block's rows are written: by split, mixed within each.

    Returns:
        int64 [n], a permutation of the block's rows: training rows first, then valid, then test,
        then those that are left out; within a split random by (seed, input, block), or as read with
        ``keep_order``.
    """
    if keep_order:
        return np.argsort(codes, kind="stable")
    rows = np.arange(len(codes), dtype=np.uint64)
    # Split, then random bits, then the row itself: sorted, the keys are the order.
    keys = _random_bits(f"{seed}\0{name}\0{block}", rows) >> np.uint64(2)
    keys &= ~_ROW
    keys |= codes.astype(np.uint64) << np.uint64(62)
    keys |= rows
    keys.sort()
    return (keys & _ROW).astype(np.int64)


def _random_bits(
    key: str, numbers: npt.NDArray[np.int64] | npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """64 uniform bits per number: SplitMix64 (Steele et al. 2014), started at a hash of the key.

    Unlike NumPy's generators, it is the same in every version.
    """
    name = key.encode(errors="surrogateescape")  # an input's name need not be UTF-8
    start = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(start)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _share(fraction: float) -> np.uint64:
    return np.uint64(min(int(fraction * 2**64), int(_ALL)))
