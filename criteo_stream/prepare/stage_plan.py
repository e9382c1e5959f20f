"""What a stage is to do, on disk: all that its tasks need to know, wherever they run.

The driver writes a plan before a stage and removes it after: a task whose plan is gone works for
nobody any more, and stops.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeVar

from criteo_stream import __version__
from criteo_stream.base.errors import OutputError
from criteo_stream.base.file_state import FileState
from criteo_stream.base.records import Count, Fingerprint, Positive, read_record, write_record
from criteo_stream.base.schema import BLOCK_ROWS
from criteo_stream.prepare.memory_budget import MemoryBudget
from criteo_stream.prepare.splits import HashedSplit, RangeSplit, Split
from criteo_stream.prepare.work_records import BlockRecord, Written, identity_of
from criteo_stream.prepare.workspace import Workspace
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.layouts import LAYOUTS, Layout


class StoppedError(Exception):
    """The plan is gone: its stage failed, was interrupted, or is done."""


def check_wanted(plan: Path) -> None:
    """Stop where a plan is gone.

    Raises:
        StoppedError: it is.
    """
    if not plan.exists():
        raise StoppedError


_AGAIN: Final = "run the same command again"


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What every stage's tasks need to know."""

    package_version: str = __version__
    out: str
    """The data set's folder, by a path that is the same on all hosts."""
    memory: Positive
    """Bytes that each process may take."""
    workers: Positive | None
    """Threads that each process may have; None is all cores of its host."""
    shared: bool
    """Whether the tasks run on hosts that share the folder."""

    @property
    def budget(self) -> MemoryBudget:
        """Of each process."""
        return MemoryBudget(total_bytes=self.memory, workers=self.workers)

    @property
    def workspace(self) -> Workspace:
        """Where the work is."""
        return Workspace(Path(self.out))


@dataclass(frozen=True, kw_only=True)
class PlannedInput:
    """An input, for a task to find it."""

    path: str
    member: str | None
    """Of the archive that the path names."""

    @classmethod
    def of(cls, source: RawInput) -> "PlannedInput":
        """Where an input is."""
        return cls(path=str(source.path.absolute()), member=source.member)

    @property
    def source(self) -> RawInput:
        """The input itself."""
        return RawInput(Path(self.path), member=self.member)


@dataclass(frozen=True, kw_only=True)
class ReadPlan(StagePlan):
    """Of stage 1, and of counting lines before it."""

    task: Fingerprint
    """Of all that decides the output."""
    inputs: list[PlannedInput]
    """In their order."""
    ranges: list[RangeSplit]
    """The split of each input, where it goes by place; else empty."""
    valid: float
    test: float
    """Fractions by hash, where ``ranges`` is empty."""
    keep_negatives: float
    """Probability with which a negative training row is kept."""
    layout: str
    block_rows: int = BLOCK_ROWS
    seed: int
    keep_order: bool
    pad_short_lines: bool
    max_bad_rows: Count

    def state_of(self, source: RawInput) -> FileState:
        """State of an input now; see `FileState.among_hosts`."""
        state = FileState.of(source.path)
        return state.among_hosts() if self.shared else state

    @property
    def parsed_as(self) -> Layout:
        """The layout of all inputs."""
        return LAYOUTS[self.layout]

    def split(self, number: int, name: str) -> Split:
        """The split of an input of this name."""
        if self.ranges:
            return self.ranges[number]
        return HashedSplit(seed=self.seed, name=name, valid=self.valid, test=self.test)


@dataclass(frozen=True, kw_only=True)
class FitPlan(StagePlan):
    """Of stage 2."""

    blocks: list[BlockRecord]
    min_count: Positive
    max_vocabulary: Positive | None
    keeps_counts: bool
    extends: Fingerprint | None
    """Identity of the fit in `Workspace.before` that is extended."""


@dataclass(frozen=True, kw_only=True)
class EncodePlan(StagePlan):
    """Of stage 3."""

    blocks: list[BlockRecord]
    files: dict[str, Written]
    """The tables and lookups, per column."""

    @property
    def fit(self) -> str:
        """Identity of the tables and lookups."""
        return identity_of(self.files)


Plan = TypeVar("Plan", bound=StagePlan)


@contextmanager
def written(plan: StagePlan, kind: str) -> Iterator[Path]:
    """Write a plan under a name that no other has had, so that no host knows it from before."""
    path = plan.workspace.plans / f"{kind}-{secrets.token_hex(8)}.json"
    write_record(path, asdict(plan))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class _MadeBy:
    """What a plan of any version says."""

    package_version: str
    out: str


def read_plan(path: Path, kind: type[Plan]) -> Plan:
    """Read a plan.

    Raises:
        FileNotFoundError: there is none.
        OutputError: it is damaged, or of another version of this package.
    """
    plan = read_record(path, _MadeBy, error=OutputError, remedy=_AGAIN)
    if plan.package_version != __version__:
        raise OutputError(
            f"version {plan.package_version} of this package prepares {plan.out}, and a worker has "
            f"{__version__}: install the same version on all hosts"
        )
    return read_record(path, kind, error=OutputError, remedy=_AGAIN)
