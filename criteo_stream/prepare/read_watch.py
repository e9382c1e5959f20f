"""Watching a stage that reads: lines as they come, and malformed ones up to a limit."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from criteo_stream.base.errors import InputError
from criteo_stream.base.progress import Progress
from criteo_stream.prepare.work_records import BlockRecord
from criteo_stream.prepare.workspace import Workspace
from criteo_stream.raw.malformed import Reject, too_many_rejects


class TooManyRejectsError(InputError):
    """More malformed lines than allowed; knows the first of them, and how many they were."""

    def __init__(self, source: int, first: Reject, rejected: int, allowed: int) -> None:
        super().__init__(str(too_many_rejects(first, rejected, allowed)))
        self.source = source
        self.first = first
        self.rejected = rejected
        self._made_of = (source, first, rejected, allowed)

    def __reduce__(self) -> tuple[type["TooManyRejectsError"], tuple[int, Reject, int, int]]:
        """So that it can come from another process."""
        return type(self), self._made_of


class ReadWatch:
    """Hears of lines from several streams.

    Args:
        max_bad_rows: malformed lines that are left out before giving up.
        progress: is told of lines, and of how many there will be.
        expected: about how many lines each input has.
    """

    def __init__(
        self,
        max_bad_rows: int,
        progress: Progress | None = None,
        expected: Mapping[int, int] | None = None,
    ) -> None:
        self._expected = dict(expected or {})
        self._allowed = max_bad_rows
        self._progress = progress
        self._rejected = 0
        self._first: tuple[int, Reject] | None = None
        self._lock = threading.Lock()

    def advance(self, lines: int) -> None:
        """Hear of lines that are done."""
        if self._progress:
            self._progress.advance(lines)

    def expect(self, source: int, lines: float) -> None:
        """Hear of how many lines an input seems to have, or has."""
        if self._progress:
            with self._lock:
                self._expected[source] = round(lines)
                self._progress.expect(sum(self._expected.values()))

    def rejected(self, source: int, count: int, rejects: Sequence[Reject]) -> None:
        """Hear of malformed lines of an input, of which ``rejects`` are the first.

        Raises:
            TooManyRejectsError: names the first of all that were heard of, in the inputs' order.
        """
        if not count:
            return
        with self._lock:
            self._rejected += count
            self._first = self._earlier(source, rejects[0])
            if self._rejected > self._allowed:
                raise TooManyRejectsError(*self._first, self._rejected, self._allowed)

    def with_what_was_heard(self, error: TooManyRejectsError) -> TooManyRejectsError:
        """The error of a process that heard of its own lines alone, with what this one heard."""
        with self._lock:
            rejected = max(self._rejected, error.rejected)
            first = self._earlier(error.source, error.first)
            return TooManyRejectsError(*first, rejected, self._allowed)

    def _earlier(self, source: int, reject: Reject) -> tuple[int, Reject]:
        """The first malformed line, of this one and those heard of, in the inputs' order."""
        places = [(source, reject), *([self._first] if self._first else [])]
        return min(places, key=lambda place: (place[0], place[1].line))


@dataclass
class NewBlocks:
    """Looks for blocks that tasks elsewhere have recorded, and tells a watch of them."""

    workspace: Workspace
    task: str
    watch: ReadWatch
    seen: list[int]
    """Blocks of each input."""

    def look(self) -> None:
        """Tell of those that are new."""
        for source in range(len(self.seen)):
            while (record := self._next(source)) is not None:
                self.seen[source] += 1
                self.watch.rejected(source, record.rejected, record.rejects)
                self.watch.advance(record.lines)
                if record.last:
                    self.watch.expect(source, record.end.lines)

    def _next(self, source: int) -> BlockRecord | None:
        return self.workspace.find_block(source, self.seen[source], self.task)
