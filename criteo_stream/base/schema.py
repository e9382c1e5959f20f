"""Columns of a Criteo row, splits, and the sizes on which all parts agree."""

from typing import Final, Literal

LABEL: Final = "label"
INTEGER_COLUMNS: Final = tuple(f"I{i}" for i in range(1, 14))
CATEGORICAL_COLUMNS: Final = tuple(f"C{i}" for i in range(1, 27))
FEATURE_COLUMNS: Final = INTEGER_COLUMNS + CATEGORICAL_COLUMNS

Split = Literal["train", "valid", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
ALL_ROWS: Final = "all"
"""In the place of a split: all of them together."""
EVALUATED: Final = (*SPLITS, ALL_ROWS)
"""What a run may be evaluated on."""

FORMAT_VERSION: Final = 2
"""Version of the prepared data set's layout; a reader refuses any other."""
BLOCK_ROWS: Final = 2**20
"""Rows of a block: lines of one input that are parsed, shuffled and written together."""
ROW_GROUP_ROWS: Final = 2**15
"""Rows of a Parquet row group, the unit that training shuffles; the last of a shard is shorter."""
