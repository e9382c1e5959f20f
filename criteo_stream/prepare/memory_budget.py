"""Where the memory budget is shared out: how many threads, chunks, blocks and merge entries.

What is used in the end is measured by `criteo_stream.base.memory`.
"""

from dataclasses import dataclass
from typing import Final

from criteo_stream.base.amounts import format_size
from criteo_stream.base.errors import UsageError
from criteo_stream.base.system import cores

MERGE_BYTES_PER_ENTRY: Final = 48
"""A merge's working memory per run entry: packed keys, their sort, values and int64 counts."""
_LEAST_BYTES: Final = 1_000_000_000
_MOST_BYTES: Final = 2**63 - 1
_BASE_BYTES: Final = 560_000_000
"""Held whatever the number of threads: libraries, a block being read, another being coded."""
_THREAD_BYTES: Final = 120_000_000
"""Held per thread: a chunk being parsed, a column being coded, or a block being encoded."""
_STREAM_BYTES: Final = 450_000_000
"""Held per input that is read beside the first: a block being read, another being coded."""


@dataclass(frozen=True, kw_only=True)
class MemoryBudget:
    """Memory that the process tree may take; the output does not depend on it."""

    total_bytes: int
    workers: int | None = None
    """Threads that the user allows; None is all cores."""

    def __post_init__(self) -> None:
        """Refuse less memory than the work needs, and more than there is anywhere."""
        if self.total_bytes > _MOST_BYTES:
            raise UsageError("--memory is more than any machine has: give what this one can spare")
        if self.total_bytes < _LEAST_BYTES:
            raise UsageError(
                f"--memory {format_size(self.total_bytes)} is too little: "
                f"preparing needs at least {format_size(_LEAST_BYTES)}"
            )

    @property
    def threads(self) -> int:
        """Threads that the memory is enough for; each encodes one block at a time."""
        workers = self.workers or cores()
        return max(1, min(workers, self._shared_bytes // _THREAD_BYTES))

    @property
    def most_streams(self) -> int:
        """Inputs that the memory allows to be read at a time, or blocks of one to be made."""
        more = (self._shared_bytes - self.threads * _THREAD_BYTES) // _STREAM_BYTES
        return max(1, min(self.threads, 1 + max(0, more)))

    def streams(self, inputs: int) -> int:
        """Inputs, of so many, that are read at a time."""
        return max(1, min(inputs, self.most_streams))

    @property
    def chunks_in_flight(self) -> int:
        """Chunks that are parsed, or wait to be, at a time."""
        return self.threads + 1

    @property
    def columns_in_flight(self) -> int:
        """Columns of a block that are coded, or wait to be written, at a time."""
        return self.threads + 1

    def blocks_in_flight(self, bytes_per_block: int) -> int:
        """Blocks of at most this size in memory that are encoded at a time."""
        return max(1, min(self.threads, self._shared_bytes // bytes_per_block))

    @property
    def merge_entries(self) -> int:
        """Run entries that a thread merges at a time."""
        return self._shared_bytes // self.threads // MERGE_BYTES_PER_ENTRY

    @property
    def _shared_bytes(self) -> int:
        """Memory that the threads share."""
        return self.total_bytes - _BASE_BYTES
