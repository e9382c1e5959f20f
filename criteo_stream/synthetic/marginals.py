"""The distribution of each column of a synthetic row.

The numbers are aggregates of the real Kaggle rows (a sample of 95,871, and the published
cardinalities of all 45.8 million): the cumulative share of the most frequent 1, 2, 3, 5, 10, 30,
100, … values of a categorical column, or of the smallest integers of a numeric one, and how often
columns are missing, together. Beyond what a sample shows, the shares are fitted so that the
expected number of distinct values agrees with the real one at 95,871 and at 45.8 million rows.
"""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CELLS: Final = 2**16
"""Steps of an inverse distribution function: probabilities are multiples of about 1.5e-5."""
_KNOTS: Final = (1, 2, 3, 5, *(k * 10**e for e in range(1, 9) for k in (1, 3)))


@dataclass(frozen=True)
class Marginal:
    """A distribution over ranks 0, 1, …, size − 1: Zipf's 1 / rank between the knots."""

    size: int
    shares: tuple[float, ...]
    """Cumulative share of the first 1, 2, 3, 5, 10, 30, 100, … ranks; the last, 1.0, of all."""
    first: int = 0
    """The integer that rank 0 stands for, in a numeric column."""

    def share_of_first(self, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cumulative share of the first ``ranks`` ranks (at least 1)."""
        return np.interp(np.log(ranks), np.log(self._knots), self.shares)

    def inverse(self) -> "InverseTable":
        """Tabulate the inverse distribution function."""
        share = np.arange(CELLS) / CELLS
        # exp(-inf) = 0: the share of the first rank lies to the left of the first knot
        edges = np.exp(np.interp(share, self.shares, np.log(self._knots), left=-np.inf))
        base = np.append(np.floor(edges), self.size).astype(np.uint32)
        return InverseTable(base[:-1], np.maximum(np.diff(base), 1))

    @property
    def _knots(self) -> tuple[int, ...]:
        return (*_KNOTS[: len(self.shares) - 1], self.size)


@dataclass(frozen=True)
class InverseTable:
    """A piecewise uniform inverse distribution function, in integers only.

    Integers make a row the same on every machine, whatever its exp and log.
    """

    base: NDArray[np.uint32]  # [CELLS] first rank of a cell
    width: NDArray[np.uint32]  # [CELLS] ranks in a cell, below 2^16

    def ranks(self, uniform: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Turn uniform 32-bit numbers into ranks: 16 bits choose the cell, 16 the place in it."""
        cell = uniform >> np.uint32(16)
        place = (uniform & np.uint32(0xFFFF)) * self.width.take(cell)
        return self.base.take(cell) + (place >> np.uint32(16))


@dataclass(frozen=True)
class MissingGroup:
    """Columns that are missing together, more or less often where the parent group is missing."""

    columns: tuple[str, ...]
    parent: int | None
    """Index of an earlier group."""
    rate: float
    """Share of missing where the parent is present."""
    rate_if_missing: float = 0.0
    """Share of missing where the parent is missing."""


# The tree of the strongest pairwise dependences (Chow and Liu 1968), from the real rows.
MISSING: Final = (
    MissingGroup(("I1", "I10"), None, 0.4499),
    MissingGroup(("I6",), 0, 0.0402, 0.4440),
    MissingGroup(("I5",), 1, 0.0001, 0.1199),
    MissingGroup(("I7", "I9", "I11"), 1, 0.0, 0.1904),
    MissingGroup(("I12",), 1, 0.7192, 0.9228),
    MissingGroup(("I8",), 2, 0.0, 0.0211),
    MissingGroup(("I4", "I13"), 3, 0.1972, 0.6001),
    MissingGroup(("I3",), 6, 0.1187, 0.5577),
    MissingGroup(("C19", "C20", "C25", "C26"), 7, 0.3808, 0.6662),
    MissingGroup(("C6",), 8, 0.1755, 0.0543),
    MissingGroup(("C3", "C4", "C12", "C16", "C21", "C24"), 8, 0.0138, 0.0612),
    MissingGroup(("C22",), 9, 0.7318, 0.9695),
)

# Column, number of ranks: cumulative share, in units of 10⁻⁵, of the first 1, 2, 3, 5, 10, 30, …
_TABLE: Final = """
C1 1460: 50067 66857 75299 83487 91016 96825 99143 99703 99960
C2 583: 11341 15612 19409 26689 40245 63168 86317 98342
C3 81050000: 2637 3725 4764 6603 10602 18099 27124 36015 45824 49743 53990 57968 62635 67453 73528
    79717 86958 93768
C4 8811000: 3725 6048 8229 12126 17281 26863 38916 50297 62848 73926 80045 83896 88140 92066 96411
    99030
C5 305: 67420 82868 89140 94327 97883 99609 99959
C6 24: 45151 70098 91208 97916 99998
C7 12517: 2139 3468 4364 5844 8800 15940 27878 44258 66934 91878
C8 633: 59465 76050 83452 90112 95549 98851 99763 99960
C9 3: 89984 99982
C10 96000: 22163 23611 24369 25541 27711 33242 42470 54789 71409 85377 95949 99448
C11 5683: 3214 5311 6889 9279 13222 23682 39323 58609 82694 98896
C12 66813000: 2637 4960 6048 8058 12179 20192 30043 39282 49478 54771 59134 63193 67897 72657
    78488 84214 90679 96607
C13 3194: 3214 5569 7276 9989 15046 26635 44075 64672 88005
C14 27: 34945 69015 84553 92088 98412
C15 14992: 1573 2636 3540 5196 9097 20801 40473 62207 84727 97132 99841
C16 40000000: 2637 4960 6048 8058 12344 21899 33575 43999 55520 63314 67782 71896 76567 81128
    86485 91569 97193 99649
C17 10: 46123 59214 70525 84192
C18 5652: 3243 6083 8798 13204 21586 37154 60129 81401 96928 99874
C19 2173: 61558 64997 66386 68835 72451 78828 87330 94818 99474
C20 4: 33851 67139 99998
C21 56373000: 2637 4960 6048 8058 12325 21127 31663 41590 52538 58308 62733 66838 71565 76297
    82013 87555 93755 98506
C22 18: 57021 92815 95980 99765 99996
C23 15: 43668 63633 75757 88499 99468
C24 315000: 5501 10482 15249 21976 30743 43663 56424 67280 79197 88243 94356 97180 98914
C25 105: 25503 44735 59109 71958 93091 99960
C26 146000: 7455 10807 13650 18785 25892 35560 48650 61566 75750 86584 93794 97277 99524
I1 426: 42553 60159 69900 80281 90680 98297 99888 99994
I2 10259: 1 69 10266 42935 57221 71596 84906 92536 97093 99557
I3 38444: 453 16564 27147 41815 61230 84587 96693 99416 99882 99950 99981
I4 350: 5422 22116 35101 52718 74862 96650 99984
I5 2071072: 1895 4250 5715 6874 9234 13827 18990 24523 31656 52435 74708 88825 96364 98809 99931
I6 90000: 6480 10039 13165 18270 27500 48282 74449 90863 98391 99822 99992 99999
I7 6499: 22413 35933 44882 56342 71381 88334 97002 99377 99943 99997
I8 1690: 11343 19699 26743 37958 56629 86497 99961 99992 99999
I9 7235: 3213 7161 10332 15261 23964 43944 72596 91423 98992 99943
I10 8: 47832 92294 98614 99930
I11 124: 23243 58110 72517 84950 94072 99257
I12 167: 74008 89791 93165 95644 97707 99460 99973
I13 1575: 6329 22588 35229 52195 73350 95236 99831 99995 99999
"""


def _parse(table: str) -> dict[str, Marginal]:
    marginals = {}
    for entry in re.split(r"\n(?=[IC])", table.strip()):
        head, shares = entry.split(":")
        column, size = head.split()
        first = -3 if column == "I2" else 0  # the one column with negative integers
        cumulative = (*(int(share) / 1e5 for share in shares.split()), 1.0)
        marginals[column] = Marginal(int(size), cumulative, first)
    return marginals


MARGINALS: Final = _parse(_TABLE)
"""The distribution of every column's values, missing ones aside."""
