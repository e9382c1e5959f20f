"""The one table that all columns share, and which of its rows belong to which field.

Columns lie end to end: the ids of the categorical columns, then the bins of the integer columns,
the last bin of each for missing values::

    C1's ids | C2's ids | … | C26's ids | I1's bins, missing | … | I13's bins, missing
"""

import itertools
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from criteo_stream.base.errors import UsageError
from criteo_stream.sparse.table import FusedTable

_MOST_ROWS: Final = 2**31


@dataclass(frozen=True)
class FieldLayout:
    """The rows of the table, column by column.

    Raises:
        UsageError: the rows of all columns together do not fit 32 bits.
    """

    categories: tuple[int, ...]
    """Size of each categorical column's id space."""
    numeric_columns: int = 0
    """Number of integer columns."""
    bins: int = 0
    """Equal bins of [0, 1] per integer column; 0 if integer columns have no rows in the table."""

    def __post_init__(self) -> None:
        if self.rows >= _MOST_ROWS:
            raise UsageError(
                f"the vocabularies have {self.rows:,} ids together, at most {_MOST_ROWS - 1:,} "
                "fit: prepare with a larger --min-count or a --max-vocabulary"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of all fields, in the order in which models see them: C1, C2, …, then I1, I2, …."""
        return (
            *(f"C{number + 1}" for number in range(len(self.categories))),
            *(f"I{number + 1}" for number in range(self.numeric_columns)),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each column; without bins, of the categorical columns only."""
        bins = (self.bins + 1,) * self.numeric_columns if self.bins else ()
        return (*self.categories, *bins)

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return sum(self.sizes)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First row of each column, as many as ``sizes``."""
        return tuple(itertools.accumulate(self.sizes, initial=0))[:-1]

    @property
    def category_offsets(self) -> tuple[int, ...]:
        """First row of each categorical column."""
        return self.offsets[: len(self.categories)]

    @property
    def bin_offsets(self) -> tuple[int, ...]:
        """First row of each integer column; empty without bins."""
        return self.offsets[len(self.categories) :]

    def bin_of(self, quantiles: Tensor) -> Tensor:
        """The bin of each quantile, local to its column.

        Args:
            quantiles: float [B, numeric columns] in [0, 1], NaN for missing. Numbers outside
                fall into the first or the last bin.

        Returns:
            int32 [B, numeric columns], 0 … bins − 1, and ``bins`` for missing.
        """
        # Before it is an int: infinity is none, and a row below 0 is another column's.
        bins = (quantiles * self.bins).nan_to_num(0.0).clamp_(0, self.bins - 1).int()
        # Not torch.where: it copies a number to a GPU, and the host waits.
        return bins.masked_fill(quantiles.isnan(), self.bins)

    def fields_of_rows(self, rows: Tensor) -> list[str]:
        """Names of the fields that table rows belong to, each once, in the order of the table.

        Args:
            rows: int64 [n], on the CPU.
        """
        columns = torch.searchsorted(torch.tensor(self.offsets), rows, right=True) - 1  # [n]
        return [self.fields[column] for column in sorted(set(columns.tolist()))]


class FieldTable(FusedTable):
    """The sparse table [w | v] of all fields, zeros at first.

    Args:
        layout: which rows are whose.
        linear_columns: leading columns that are linear weights.
        d_embed: length of the vectors.
        sparse: whether the gradient is sparse.
    """

    category_offsets: Tensor
    """int32 [categorical columns], the first row of each."""
    bin_offsets: Tensor
    """int32 [integer columns], the first row of each; [0] without bins."""
    category_sizes: Tensor
    """int32 [categorical columns], the number of ids of each."""

    def __init__(
        self, layout: FieldLayout, linear_columns: int, d_embed: int, *, sparse: bool = True
    ) -> None:
        super().__init__(layout.rows, linear_columns, d_embed, sparse=sparse)
        self.layout = layout
        sizes = torch.tensor(layout.categories, dtype=torch.int32)
        self.register_buffer("category_sizes", sizes, persistent=False)
        for name in ("category_offsets", "bin_offsets"):
            offsets = torch.tensor(getattr(layout, name), dtype=torch.int32)
            self.register_buffer(name, offsets, persistent=False)

    def rows_of(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """The rows that a batch looks up; every row of a column is before those of the next.

        Args:
            x_num: float [B, integer columns] in [0, 1], NaN for missing.
            x_cat: int [B, categorical columns], ids local to their column.

        Returns:
            int [B, categorical columns], or with bins [B, categorical + integer columns].
        """
        rows = x_cat + self.category_offsets
        if not self.layout.bins:
            return rows
        return torch.cat([rows, self.layout.bin_of(x_num) + self.bin_offsets], dim=1)
