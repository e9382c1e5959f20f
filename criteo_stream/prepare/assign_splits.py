"""Which split the lines of each input go to."""

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from pathlib import Path

from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import SPLITS
from criteo_stream.prepare.announce import listed
from criteo_stream.prepare.options import PrepareOptions
from criteo_stream.prepare.splits import (
    WHOLLY_TEST,
    WHOLLY_TRAIN,
    WHOLLY_VALID,
    RangeSplit,
    last_day_split,
    tail_splits,
    tail_starts,
)
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.inputs import RawInput, find_inputs


def named_splits(options: PrepareOptions) -> dict[Path, RangeSplit]:
    """The files, archives and members that the user named as valid or test split, by `identity`.

    Raises:
        UsageError: a file is named as both.
        InputError: there is no such file.
    """
    valid, test = (
        find_inputs(patterns) if patterns else []
        for patterns in (options.valid_files, options.test_files)
    )
    for some, others in ((valid, test), (test, valid)):
        taken = {source.identity for source in others}
        for source in some:
            if taken & {source.identity, source.path.resolve()}:
                raise UsageError(f"{source} is named by both --valid-files and --test-files")
    named = {source.identity: WHOLLY_VALID for source in valid}
    return named | {source.identity: WHOLLY_TEST for source in test}


def _named_split(source: RawInput, named: Mapping[Path, RangeSplit]) -> RangeSplit:
    """The split of an input that is named itself, or by its archive."""
    return named.get(source.identity) or named.get(source.path.resolve(), WHOLLY_TRAIN)


def inputs_to_count(
    inputs: Sequence[Beginning], options: PrepareOptions, named: Mapping[Path, RangeSplit]
) -> list[int]:
    """The inputs whose lines must be counted before it can be said how rows are split.

    Raises:
        UsageError: ``--split terabyte``, and an input is not named as a day.
    """
    if named or options.split == "random":
        return []
    return [_last_day(inputs)] if options.split == "terabyte" else list(range(len(inputs)))


def ranges_of(
    inputs: Sequence[Beginning],
    options: PrepareOptions,
    named: Mapping[Path, RangeSplit],
    lines: Mapping[int, int],
    tell: Callable[[str], None] = lambda _: None,
) -> list[RangeSplit]:
    """The split of each input, where lines go by their place; empty where by their hash.

    Args:
        inputs: in the order in which they are read.
        options: of the preparation.
        named: see `named_splits`.
        lines: of `inputs_to_count`.
        tell: hears of splits that go by whole files or by the order.
    """
    if named:
        wholly = [_named_split(beginning.source, named) for beginning in inputs]
        tell(_by_file_text(inputs, wholly))
        return wholly
    if options.split == "terabyte":
        last = _last_day(inputs)
        splits = [WHOLLY_TRAIN] * len(inputs)
        splits[last] = last_day_split(lines[last])
        tell(f"the first half of {inputs[last].source} is valid, the second half test")
        return splits
    if options.split == "tail":
        valid, test = options.fractions
        counts = [lines[number] for number in range(len(inputs))]
        tell(_tail_text(inputs, counts, valid, test))
        return tail_splits(counts, valid, test)
    if _all_test(options):
        return [WHOLLY_TEST] * len(inputs)
    return []


def refuse_unnamed_days(
    inputs: Sequence[Beginning], options: PrepareOptions, named: Mapping[Path, RangeSplit]
) -> None:
    """Refuse a split by days of inputs that have none.

    Raises:
        UsageError: an input's name does not say which day it is.
    """
    if options.split == "terabyte" and not named:
        _last_day(inputs)


def share_thinned(
    inputs: Sequence[Beginning], options: PrepareOptions, named: Mapping[Path, RangeSplit]
) -> float:
    """About which share of all negative rows is left out of the training split.

    Raises:
        UsageError: some are to be left out, and no row goes to the training split.
    """
    if options.keep_negatives == 1:
        return 0.0
    share = _training_share(inputs, options, named)
    if not share:
        raise UsageError(
            f"--keep-negatives {options.keep_negatives:g} thins the training split, and all rows "
            "go to valid or test: leave it out, or change the split"
        )
    return (1 - options.keep_negatives) * share


def _training_share(
    inputs: Sequence[Beginning], options: PrepareOptions, named: Mapping[Path, RangeSplit]
) -> float:
    rows = [beginning.estimated_rows for beginning in inputs]
    if named:
        training = [_named_split(beginning.source, named) == WHOLLY_TRAIN for beginning in inputs]
        return sum(compress(rows, training)) / max(1, sum(rows))
    if options.split == "terabyte":
        return 1 - rows[_last_day(inputs)] / max(1, sum(rows))
    return 0.0 if _all_test(options) else 1 - sum(options.fractions)


def _all_test(options: PrepareOptions) -> bool:
    """Whether rows that could be split at random are encoded with another set's fit, unsplit."""
    random = options.split == "random"
    return random and options.fit_from is not None and options.valid is options.test is None


def _by_file_text(inputs: Sequence[Beginning], splits: Sequence[RangeSplit]) -> str:
    names: dict[RangeSplit, list[str]] = {WHOLLY_TRAIN: [], WHOLLY_VALID: [], WHOLLY_TEST: []}
    for beginning, split in zip(inputs, splits, strict=True):
        names[split].append(str(beginning.source))
    told = zip(SPLITS, names.values(), strict=True)
    return "; ".join(f"{split}: {listed(found) or 'none'}" for split, found in told)


def _tail_text(inputs: Sequence[Beginning], counts: list[int], valid: float, test: float) -> str:
    """Where the splits begin, through all inputs in the order told before."""
    total = sum(counts)
    valid_from, test_from = tail_starts(total, valid, test)
    begins = []
    for kind, row, end in (("valid", valid_from, test_from), ("test", test_from, total)):
        number = 0
        while row < end and row >= counts[number]:
            row -= counts[number]
            end -= counts[number]
            number += 1
        if row < end:
            begins.append(f"{kind} begins at row {row + 1:,} of {inputs[number].source.path}")
    return ", ".join(begins) or "all rows are training rows"


def _last_day(inputs: Sequence[Beginning]) -> int:
    """Number of the input with the latest of the 1TB days."""
    days = []
    for beginning in inputs:
        day = beginning.source.day
        if day is None:
            raise UsageError(
                "--split terabyte needs inputs named day_0, day_1, …: "
                f"{beginning.source.path.name} is not"
            )
        days.append(day)
    return days.index(max(days))
