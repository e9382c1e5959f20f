"""The known forms of raw lines."""

from dataclasses import dataclass
from typing import Final

from criteo_stream.base.schema import FEATURE_COLUMNS, LABEL

ID: Final = "Id"
"""Column of the row numbers in Kaggle's CSV form; nothing is learned from it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A known form of raw lines."""

    name: str
    labelled: bool
    separator: bytes = b"\t"
    has_id: bool = False
    """Whether a line begins with an id, a 64-bit integer."""

    @property
    def leading(self) -> tuple[str, ...]:
        """The columns before I1."""
        return (ID,) * self.has_id + (LABEL,) * self.labelled

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns."""
        return (*self.leading, *FEATURE_COLUMNS)

    @property
    def separators(self) -> int:
        """Separators in a valid line."""
        return len(self.columns) - 1

    @property
    def described(self) -> str:
        """What its rows are, in words."""
        columns = "".join(f"{column}, " for column in self.leading)
        return f"{columns}I1 to I13, C1 to C26 between {self.separator_name}"

    @property
    def separator_name(self) -> str:
        """The separator's name in the plural."""
        return "tabs" if self.separator == b"\t" else "commas"


KAGGLE: Final = Layout(name="kaggle", labelled=True)
KAGGLE_UNLABELLED: Final = Layout(name="kaggle", labelled=False)
TERABYTE: Final = Layout(name="terabyte", labelled=True)
RECZOO: Final = Layout(name="reczoo", labelled=True, separator=b",")
"""Criteo_x4 of the reczoo benchmarks: the rows of Kaggle, with a header."""
RECZOO_UNLABELLED: Final = Layout(name="reczoo", labelled=False, separator=b",")
KAGGLE_CSV: Final = Layout(name="kaggle-csv", labelled=True, separator=b",", has_id=True)
"""The form of some Kaggle competitions and copies: an id in front, and a header."""
KAGGLE_CSV_UNLABELLED: Final = Layout(
    name="kaggle-csv", labelled=False, separator=b",", has_id=True
)
LAYOUTS: Final = {layout.name: layout for layout in (KAGGLE, TERABYTE, RECZOO, KAGGLE_CSV)}
"""The layouts that a user may name."""
FORMS: Final = (
    KAGGLE, KAGGLE_UNLABELLED, RECZOO, RECZOO_UNLABELLED, KAGGLE_CSV, KAGGLE_CSV_UNLABELLED,
)  # fmt: skip
"""All forms; each has a header of its own."""
