"""What decides a prepared data set's content, and what only decides how it is made."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from criteo_stream.base.amounts import format_size, parse_size
from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import BLOCK_ROWS

SPLIT_KINDS: Final = ("random", "tail", "terabyte")

_DEFAULT_FRACTION: Final = 0.1

_LEAST_MEMORY: Final = 1_000_000_000
_BASE_BYTES: Final = 500_000_000
"""What the process holds whatever the number of threads: libraries, a unit being read, another
being coded."""
_THREAD_BYTES: Final = 120_000_000
"""What a thread takes: a chunk being parsed, a column being coded, or a unit being encoded."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """The options that decide the output."""

    layout: str = "auto"
    """``kaggle``, ``terabyte``, ``reczoo``, or ``auto``: recognised from the first lines."""
    split: str = "random"
    """``random`` by (seed, input, line), ``tail`` in time order, or ``terabyte``."""
    valid: float | None = None
    """Fraction of the rows, for ``random`` and ``tail``; None is 0.1."""
    test: float | None = None
    """Fraction of the rows, for ``random`` and ``tail``; None is 0.1."""
    valid_files: tuple[str, ...] = ()
    """Inputs that are the valid split; then fractions do not apply."""
    test_files: tuple[str, ...] = ()
    """Inputs that are the test split; then fractions do not apply."""
    min_count: int | None = None
    """Values rarer than this in the training rows become OOV; None goes by their number."""
    max_vocabulary: int | None = None
    """Keep at most this many known values a column, the most frequent."""
    seed: int = 0
    keep_order: bool = False
    """Do not mix the rows of a block."""
    short_lines: str = "reject"
    """``pad`` accepts lines that are short only by trailing tabs."""
    fit_from: str | None = None
    """Encode with the fit of this prepared set; without fractions all rows are then ``test``."""
    block_rows: int = BLOCK_ROWS
    """Lines of a work unit; a constant of the format, smaller only to test with little data."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, naming the flag."""
        if self.split not in SPLIT_KINDS:
            raise UsageError(f"--split {self.split} is not known: use {', '.join(SPLIT_KINDS)}")
        valid, test = self.fractions
        for flag, value in (("--valid", valid), ("--test", test)):
            if not 0 <= value < 1:
                raise UsageError(f"{flag} is {value}, expected a fraction from 0 to below 1")
        if valid + test >= 1:
            raise UsageError(f"--valid {valid} and --test {test} leave nothing to train on")
        if self.min_count is not None and self.min_count < 1:
            raise UsageError(f"--min-count is {self.min_count}, expected at least 1")
        if self.max_vocabulary is not None and self.max_vocabulary < 1:
            raise UsageError(f"--max-vocabulary is {self.max_vocabulary}, expected at least 1")
        if not 1 <= self.block_rows <= BLOCK_ROWS:
            raise UsageError(f"block_rows is {self.block_rows}, expected 1 to {BLOCK_ROWS}")
        if self.short_lines not in ("reject", "pad"):
            raise UsageError(f"--short-lines {self.short_lines} is not known: use reject or pad")
        if (self.valid_files or self.test_files) and self.split != "random":
            raise UsageError(f"--valid-files and --test-files exclude --split {self.split}")

    @property
    def fractions(self) -> tuple[float, float]:
        """Fractions of the valid and the test split."""
        return (
            _DEFAULT_FRACTION if self.valid is None else self.valid,
            _DEFAULT_FRACTION if self.test is None else self.test,
        )

    def min_count_for(self, training_rows: int) -> int:
        """What is given, else 10, or 5 below a million training rows.

        On the 77 k training rows of a sample of Kaggle's, 5 is worth .001 of AUC; on two and ten
        million synthetic rows nothing from 2 to 50 makes a difference (``docs/quality.md``).
        """
        if self.min_count is not None:
            return self.min_count
        return 10 if training_rows >= 1_000_000 else 5

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """How the work is done; the output does not depend on it, and it may change between tries."""

    memory_bytes: int
    workers: int

    @classmethod
    def of(cls, memory: str | int, workers: int | None) -> "Resources":
        """Check and complete what the user gave.

        Raises:
            UsageError: less memory than the work needs, or no worker.
        """
        size = parse_size(memory) if isinstance(memory, str) else memory
        if size < _LEAST_MEMORY:
            raise UsageError(
                f"--memory {format_size(size)} is too little: "
                f"preparing needs at least {format_size(_LEAST_MEMORY)}"
            )
        if workers is not None and workers < 1:
            raise UsageError(f"--workers is {workers}, expected at least 1")
        return cls(memory_bytes=size, workers=workers or len(os.sched_getaffinity(0)))

    @property
    def threads(self) -> int:
        """Workers that the memory is enough for."""
        return max(1, min(self.workers, self.working_bytes // _THREAD_BYTES))

    @property
    def working_bytes(self) -> int:
        """Memory that the threads share."""
        return self.memory_bytes - _BASE_BYTES


def given_path(path: str | Path) -> str:
    """A path as the manifest records it: absolute, so that it means the same from anywhere."""
    return str(Path(path).resolve())
