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
        help="Read raw lines of this layout; auto detects it from the first lines.",
        panel="Data",
    )
    split: SplitKind = option(
        default="random",
        help="Split rows at random, in time order (tail), or by day (terabyte: the last day is "
        "half valid, half test).",
        panel="Splits",
    )
    valid: float | None = option(
        default=None,
        help="Put this fraction of the rows in the valid split (random and tail).",
        chosen_by="0.1",
        at_least=0,
        below=1,
        panel="Splits",
    )
    test: float | None = option(
        default=None,
        help="Put this fraction of the rows in the test split (random and tail).",
        chosen_by="0.1",
        at_least=0,
        below=1,
        panel="Splits",
    )
    valid_files: tuple[str, ...] = option(
        default=(),
        help="Use this file, glob or archive member as the valid split instead of a fraction; "
        "may be repeated.",
        panel="Splits",
    )
    test_files: tuple[str, ...] = option(
        default=(),
        help="Use this file, glob or archive member as the test split instead of a fraction; "
        "may be repeated.",
        panel="Splits",
    )
    min_count: int | None = option(
        default=None,
        help="Map values seen fewer than N times in the training split to the OOV id.",
        chosen_by="10, or 5 below 1M training rows; with --extend, that set's",
        at_least=1,
        panel="Encoding",
    )
    keep_negatives: float = option(
        default=1.0,
        help="Keep each negative row (label 0) of the training split with this probability; "
        "valid and test stay whole.",
        at_most=1,
        panel="Encoding",
    )
    max_vocabulary: int | None = option(
        default=None,
        help="Keep at most N values per categorical column.",
        chosen_by="no limit",
        at_least=1,
        panel="Encoding",
    )
    seed: int = option(
        default=0,
        help="Seed the splitting and the shuffling.",
        at_most=LARGEST_SEED,
        panel="Splits",
    )
    keep_order: bool = option(
        default=False,
        help="Do not shuffle rows within a block.",
        panel="Splits",
    )
    short_lines: ShortLines = option(
        default="reject",
        help="Reject or pad lines that lack only trailing separators.",
        panel="Data",
    )
    fit_from: Path | None = option(
        default=None,
        help="Encode with the vocabularies and quantiles of this data set; all rows become test "
        "rows unless fractions are given.",
        chosen_by="fit on the training split",
        panel="Encoding",
    )
    extend: Path | None = option(
        default=None,
        help="Extend the fit of this data set with the new training rows: known values keep "
        "their ids, new values get the next ones, quantiles stay. The new set holds only the new "
        "rows.",
        chosen_by="a new fit",
        panel="Encoding",
    )
    no_counts: bool = option(
        default=False,
        help="Do not store counts of values without an id; a set that extends this one then "
        "starts counting them from zero.",
        panel="Encoding",
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

    memory: str = option(
        default="4GB",
        help="Use at most this much memory; at least 1GB.",
        panel="Performance",
    )
    workers: int | None = option(
        default=None,
        help="Use N threads.",
        chosen_by="all cores",
        at_least=1,
        panel="Performance",
    )
    cluster: str | None = option(
        default=None,
        help="Run on a Dask cluster, given its scheduler's address (tcp://HOST:8786) or "
        "scheduler file. --memory and --workers then apply to each worker process.",
        chosen_by="this process",
        panel="Performance",
    )
    max_bad_rows: int = option(
        default=0,
        help="Skip and record up to N malformed lines before giving up.",
        at_least=0,
        panel="Data",
    )
    restart: bool = option(
        default=False, help="Discard what an earlier run left behind and start over."
    )
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
