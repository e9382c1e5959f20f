"""Which split the lines of each input go to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.file_state import FileState
from criteo_stream.base.progress import Progress
from criteo_stream.base.records import write_record
from criteo_stream.base.schema import SPLITS
from criteo_stream.prepare.announce import listed
from criteo_stream.prepare.beginning import Beginning
from criteo_stream.prepare.chunks import count_lines
from criteo_stream.prepare.inputs import RawInput, find_inputs
from criteo_stream.prepare.options import PrepareOptions
from criteo_stream.prepare.splits import (
    WHOLLY_TEST,
    WHOLLY_TRAIN,
    WHOLLY_VALID,
    HashedSplit,
    Split,
    last_day_split,
    tail_splits,
    tail_starts,
)
from criteo_stream.prepare.work_records import LineCount
from criteo_stream.prepare.workspace import Workspace


def named_splits(options: PrepareOptions) -> dict[Path, Split]:
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
    named: dict[Path, Split] = {source.identity: WHOLLY_VALID for source in valid}
    return named | {source.identity: WHOLLY_TEST for source in test}


def _named_split(source: RawInput, named: Mapping[Path, Split]) -> Split:
    """The split of an input that is named itself, or by its archive."""
    return named.get(source.identity) or named.get(source.path.resolve(), WHOLLY_TRAIN)


def assign_splits(
    inputs: Sequence[Beginning],
    options: PrepareOptions,
    named: Mapping[Path, Split],
    workspace: Workspace,
    *,
    quiet: bool,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Split]:
    """The split of each input.

    Args:
        inputs: in the order in which they are read.
        options: of the preparation.
        named: see `named_splits`.
        workspace: keeps the number of lines of inputs that must be counted for it.
        quiet: show no progress of counting.
        tell: hears of splits that go by whole files or by the order.

    Raises:
        UsageError: ``--split terabyte``, and an input is not named as a day.
        InputError: an input changed since its lines were counted.
    """
    if named:
        wholly = [_named_split(beginning.source, named) for beginning in inputs]
        tell(_by_file_text(inputs, wholly))
        return wholly

    def lines(number: int) -> int:
        return _count_once(inputs[number], workspace, number, quiet=quiet)

    if options.split == "terabyte":
        last = _last_day(inputs)
        splits: list[Split] = [WHOLLY_TRAIN] * len(inputs)
        splits[last] = last_day_split(lines(last))
        tell(f"the first half of {inputs[last].source} is valid, the second half test")
        return splits
    valid, test = options.fractions
    if options.split == "tail":
        counts = [lines(number) for number in range(len(inputs))]
        tell(_tail_text(inputs, counts, valid, test))
        return tail_splits(counts, valid, test)
    if options.fit_from is not None and options.valid is None and options.test is None:
        return [WHOLLY_TEST] * len(inputs)
    return [
        HashedSplit(seed=options.seed, name=beginning.source.name, valid=valid, test=test)
        for beginning in inputs
    ]


def _by_file_text(inputs: Sequence[Beginning], splits: Sequence[Split]) -> str:
    names: dict[Split, list[str]] = {WHOLLY_TRAIN: [], WHOLLY_VALID: [], WHOLLY_TEST: []}
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
            begins.append(f"{kind} begins at row {row + 1:,} of {inputs[number].source}")
    return ", ".join(begins) or "all rows are training rows"


def _last_day(inputs: Sequence[Beginning]) -> int:
    """Number of the input with the latest of the 1TB days."""
    days = []
    for beginning in inputs:
        day = beginning.source.day
        if day is None:
            raise UsageError(
                "--split terabyte needs inputs named day_0, day_1, …: "
                f"{beginning.source.short} is not"
            )
        days.append(day)
    return days.index(max(days))


def _count_once(beginning: Beginning, workspace: Workspace, number: int, *, quiet: bool) -> int:
    """Lines of an input: a split by place must know them beforehand; kept for the next try."""
    source = beginning.source
    state = FileState.of(source.path)
    record = workspace.lines(number)
    known = workspace.find(record, LineCount)
    if known is not None and known.state == state:
        return known.lines
    with Progress(f"count {source.short}", beginning.estimated_rows, quiet=quiet) as bar:
        lines = count_lines(beginning, bar.advance)
    if known is not None and known.lines != lines:
        raise InputError(
            f"{source} changed since its lines were counted ({known.lines:,} "
            f"then, {lines:,} now): bring it back, or start over with --restart"
        )
    write_record(record, LineCount(lines=lines, state=state))
    return lines
