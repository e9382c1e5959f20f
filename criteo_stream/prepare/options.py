"""Options of a preparation: those that decide the data set, and those that only execute it."""

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from criteo_stream.base.amounts import parse_size
from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import LARGEST_SEED, declared, option, options, refuse_unknown_names
from criteo_stream.base.schema import BLOCK_ROWS
from criteo_stream.prepare.memory_budget import MemoryBudget

LayoutName = Literal["auto", "kaggle", "terabyte", "reczoo", "kaggle-csv"]
SplitKind = Literal["random", "tail", "terabyte"]
ShortLines = Literal["reject", "pad"]

_DEFAULT_FRACTION = 0.1


@options
class PrepareOptions:
    """The options that decide the output."""

    layout: LayoutName = option(
        default="auto",
        help="Read raw lines of this layout; auto recognises it from the first lines.",
    )
    split: SplitKind = option(
        default="random",
        help="Split rows at random, in time order (tail), or by day (terabyte: the last day is "
        "half valid, half test).",
    )
    valid: float | None = option(
        default=None,
        help="Put this fraction of the rows into the valid split (random and tail).",
        chosen_by="0.1",
        at_least=0,
        below=1,
    )
    test: float | None = option(
        default=None,
        help="Put this fraction of the rows into the test split (random and tail).",
        chosen_by="0.1",
        at_least=0,
        below=1,
    )
    valid_files: tuple[str, ...] = option(
        default=(),
        help="Use this file, glob or archive member as the valid split, and ignore the fractions; "
        "may be repeated.",
    )
    test_files: tuple[str, ...] = option(
        default=(),
        help="Use this file, glob or archive member as the test split, and ignore the fractions; "
        "may be repeated.",
    )
    min_count: int | None = option(
        default=None,
        help="Replace values rarer than this in the training split by the OOV id.",
        chosen_by="10, or 5 below 1M training rows; with --extend as there",
        at_least=1,
    )
    keep_negatives: float = option(
        default=1.0,
        help="Keep each negative row (label 0) of the training split with this probability; the "
        "fit is made from the rows kept, valid and test stay whole.",
        at_most=1,
    )
    max_vocabulary: int | None = option(
        default=None,
        help="Keep at most N values per categorical column.",
        chosen_by="no limit",
        at_least=1,
    )
    seed: int = option(
        default=0, help="Random seed for the split and the shuffling.", at_most=LARGEST_SEED
    )
    keep_order: bool = option(default=False, help="Keep the rows of a block in their order.")
    short_lines: ShortLines = option(
        default="reject", help="Reject or pad lines that lack only trailing separators."
    )
    fit_from: Path | None = option(
        default=None,
        help="Encode with the vocabularies and quantiles of this data set; without fractions, "
        "all rows are then test rows.",
        chosen_by="fitted on the training split",
    )
    extend: Path | None = option(
        default=None,
        help="Extend the fit of this data set by the training rows: known values keep their ids, "
        "new ones come after them, and quantiles stay. The new set holds the new rows only.",
        chosen_by="fitted anew",
    )
    no_counts: bool = option(
        default=False,
        help="Do not keep the counts of values without an id; a set that extends this one then "
        "counts them from its own rows on.",
    )
    block_rows: int = option(
        default=BLOCK_ROWS, help="Make blocks of N lines; only tests with little data need fewer."
    )

    def check_together(self) -> None:
        """Refuse options that do not go together."""
        if sum(self.fractions) >= 1:
            valid, test = self.fractions
            raise UsageError(f"--valid {valid} and --test {test} leave nothing to train on")
        if self.extend and self.fit_from:
            raise UsageError(
                "--extend and --fit-from exclude each other: a fit is extended, or used as it is"
            )
        if not 1 <= self.block_rows <= BLOCK_ROWS:  # no flag: a constant of the format
            raise UsageError(f"block_rows is {self.block_rows}, expected 1 to {BLOCK_ROWS}")
        if self.keep_negatives <= 0:
            raise UsageError(
                f"--keep-negatives is {self.keep_negatives:g}, expected more than 0, at most 1"
            )
        if (self.valid_files or self.test_files) and self.split != "random":
            raise UsageError(f"--valid-files and --test-files exclude --split {self.split}")

    @property
    def fit_of(self) -> Path | None:
        """The data set whose fit is used or extended."""
        return self.fit_from or self.extend

    @property
    def fractions(self) -> tuple[float, float]:
        """Fractions of the valid and the test split."""
        return (
            _DEFAULT_FRACTION if self.valid is None else self.valid,
            _DEFAULT_FRACTION if self.test is None else self.test,
        )

    def min_count_for(self, training_rows: int) -> int:
        """The given one, else 10, or 5 below a million training rows.

        On the 77 k training rows of a sample of Kaggle's, 5 is worth .001 of AUC; on two and ten
        million synthetic rows nothing from 2 to 50 makes a difference (``docs/quality.md``).
        """
        if self.min_count is not None:
            return self.min_count
        return 10 if training_rows >= 1_000_000 else 5


@options
class PrepareExecution:
    """How the work is done; the output does not depend on it, and it may change between tries."""

    memory: str = option(default="4GB", help="Use at most this much memory, 1GB or more.")
    workers: int | None = option(
        default=None, help="Use this many threads.", chosen_by="all cores", at_least=1
    )
    cluster: str | None = option(
        default=None,
        help="Do the work on a Dask cluster: address of its scheduler (tcp://HOST:8786), or its "
        "scheduler file. Memory and threads are then those of each worker process.",
        chosen_by="this process",
    )
    max_bad_rows: int = option(
        default=0, help="Leave out and record up to N malformed lines before giving up.", at_least=0
    )
    restart: bool = option(default=False, help="Drop what an earlier try left, and start over.")
    quiet: bool = option(default=False, help="Show no progress.")

    def check_together(self) -> None:
        """Refuse a memory budget that is not a size, or too small."""
        _ = self.budget

    @property
    def budget(self) -> MemoryBudget:
        """How memory and threads are shared out."""
        return MemoryBudget(total_bytes=parse_size(self.memory), workers=self.workers)


class PrepareKeywords(TypedDict, total=False):
    """The keywords of `preprocess`: the options of both classes, as callers may write them."""

    layout: LayoutName
    split: SplitKind
    valid: float | None
    test: float | None
    valid_files: list[str] | tuple[str, ...]
    test_files: list[str] | tuple[str, ...]
    min_count: int | None
    keep_negatives: float
    max_vocabulary: int | None
    seed: int
    keep_order: bool
    short_lines: ShortLines
    fit_from: str | Path | None
    extend: str | Path | None
    no_counts: bool
    block_rows: int
    memory: str | int
    workers: int | None
    cluster: str | None
    max_bad_rows: int
    restart: bool
    quiet: bool


READING: Final = ("layout", "short_lines", "max_bad_rows")
"""Options that say how raw lines are read, for prediction as for preparing."""


def check_reading(**given: Any) -> None:
    """Refuse values of `READING` that make no sense.

    Raises:
        UsageError: names the flag.
    """
    known = {**declared(PrepareOptions), **declared(PrepareExecution)}
    for name, value in given.items():
        known[name].checked(value)


def checked(given: Mapping[str, Any]) -> tuple[PrepareOptions, PrepareExecution]:
    """The options of both classes from the keywords of one call.

    Raises:
        UsageError: a name is unknown or a value makes no sense.
    """
    refuse_unknown_names(given, [*declared(PrepareOptions), *declared(PrepareExecution)])
    memory = given.get("memory")
    if not isinstance(memory, bool) and isinstance(memory, numbers.Integral):
        given = {**given, "memory": str(min(memory, 2**63))}  # bytes; a longer text has no limit
    deciding, other = (
        {name: value for name, value in given.items() if name in declared(cls)}
        for cls in (PrepareOptions, PrepareExecution)
    )
    return PrepareOptions(**deciding), PrepareExecution(**other)
