"""The lines of a small log, and options that make a set of a few blocks of them."""

from typing import Any

from tests.support.raw_lines import raw_lines

ROWS = 2600
LINES = raw_lines(ROWS, seed=11)
SMALL: dict[str, Any] = {"block_rows": 1000, "min_count": 2}
