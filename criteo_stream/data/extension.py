"""What a manifest says of a set whose fit extends that of another."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from criteo_stream.base.records import Count, Fingerprint, Share, require
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS


@dataclass(frozen=True, kw_only=True)
class Extension:
    """How the fit of a set extends that of another: known values keep their ids."""

    lineage: Annotated[list[Fingerprint], Meta(min_length=1)]
    """Fingerprints of the fits that this one extends, the oldest first."""
    ids_before: list[Annotated[int, Meta(ge=FIRST_KNOWN_ID, lt=2**31)]]
    """Size of the id space of C1..C26 in the set that was extended; newer ids follow."""
    rows: Count
    """Training rows of all fits and this one: those that categorical columns were counted in."""
    first_rows: Count
    """Training rows of the first fit: those that integer columns were counted in."""
    counted: bool
    """Whether that set had the counts of its rare values."""
    outside: dict[str, Share]
    """Per integer column, the share of new training values beyond the range of the tables."""
    shifted: dict[str, Share]
    """Per integer column, the largest difference between the tables' quantiles and the new ones."""
    oov_before: dict[str, Share]
    """Per categorical column, the share of new training values without an id in the set before."""
    oov_after: dict[str, Share]
    """The same with this fit."""

    def __post_init__(self) -> None:
        require(len(self.ids_before) == len(CATEGORICAL_COLUMNS), "ids_before: not C1 to C26")
        for name, columns in (
            ("outside", INTEGER_COLUMNS),
            ("shifted", INTEGER_COLUMNS),
            ("oov_before", CATEGORICAL_COLUMNS),
            ("oov_after", CATEGORICAL_COLUMNS),
        ):
            found = getattr(self, name)
            require(tuple(found) == columns, f"{name}: not {columns[0]} to {columns[-1]}")
