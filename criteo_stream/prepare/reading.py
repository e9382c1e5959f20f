"""Stage 1, read: raw lines are parsed and validated once, counted, and kept as compact scratch."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from criteo_stream.errors import InputError
from criteo_stream.parallel import ordered_map
from criteo_stream.prepare.inputs import Layout, Position, RawInput, read_chunks
from criteo_stream.prepare.options import PrepareOptions, Resources
from criteo_stream.prepare.raw import ParsedChunk, Reject, parse_chunk
from criteo_stream.prepare.splits import Split
from criteo_stream.prepare.units import write_unit
from criteo_stream.prepare.workspace import InputState, UnitRecord, Workspace, unit_name
from criteo_stream.progress import Progress
from criteo_stream.schema import BLOCK_ROWS

KEPT_REJECTS: Final = 100
"""Malformed lines that are kept per work unit."""


class Reader:
    """Reads inputs into the workspace's work units, continuing after those that are there."""

    def __init__(
        self,
        workspace: Workspace,
        pool: Executor,
        options: PrepareOptions,
        resources: Resources,
        layout: Layout,
        *,
        max_bad_rows: int,
        progress: Progress,
    ) -> None:
        self._workspace = workspace
        self._pool = pool
        self._options = options
        self._resources = resources
        self._parse = partial(
            parse_chunk, layout=layout, pad_short_lines=options.short_lines == "pad"
        )
        self._max_bad_rows = max_bad_rows
        self._progress = progress
        self._rejected = 0
        self._pending: deque[Future[UnitRecord]] = deque()

    def read(
        self, inputs: Sequence[RawInput], splits: Sequence[Split], done: list[list[UnitRecord]]
    ) -> list[UnitRecord]:
        """Read all inputs.

        Args:
            inputs: in natural order.
            splits: per input.
            done: per input, the finished units from its start on.

        Returns:
            All units, in order.
        """
        records: list[UnitRecord] = []
        for number, source in enumerate(inputs):
            finished = done[number]
            records += finished
            for record in finished:
                self._count_rejects(record.rejected, [Reject(**r) for r in record.rejects])
            if not (finished and finished[-1].last):
                records += self._read_input(number, source, splits[number], finished)
        records += self._settle(0)
        return sorted(records, key=lambda r: (r.source, r.block))

    def _read_input(
        self, number: int, source: RawInput, split: Split, finished: list[UnitRecord]
    ) -> list[UnitRecord]:
        records: list[UnitRecord] = []
        state = InputState.of(source.path)
        start = finished[-1].end if finished else Position()
        chunks = read_chunks(source, unit_rows=BLOCK_ROWS, start=start)
        parsed = ordered_map(self._pool, self._parse, chunks, self._resources.workers + 1)
        for block, (unit, last) in enumerate(_group_units(parsed), start=len(finished)):
            rejects = [reject for chunk in unit for reject in chunk.rejects]
            self._count_rejects(len(rejects), rejects)
            if InputState.of(source.path) != state:
                raise InputError(
                    f"{source.path} changed while it was read: "
                    "wait until it is complete, then start over with --restart"
                )
            records += self._settle(self._resources.units_in_flight - 1)
            end = unit[-1].end
            finish = partial(
                self._finish_unit,
                unit,
                split,
                source_name=source.name,
                source=number,
                block=block,
                state=state,
                lines=end.lines - start.lines,
                end=end,
                last=last,
                rejected=len(rejects),
                rejects=[asdict(reject) for reject in rejects[:KEPT_REJECTS]],
            )
            self._pending.append(self._pool.submit(finish))
            start = end
        return records

    def _finish_unit(
        self, unit: list[ParsedChunk], split: Split, *, source_name: str, **known: Any
    ) -> UnitRecord:
        """Write a unit's scratch, then its record."""
        name = unit_name(known["source"], known["block"])
        facts = write_unit(
            self._workspace.units,
            name,
            unit,
            split,
            seed=self._options.seed,
            source_name=source_name,
            block=known["block"],
            keep_order=self._options.keep_order,
        )
        record = UnitRecord(**known, **asdict(facts))
        self._workspace.write_unit(record)
        return record

    def _settle(self, in_flight: int) -> list[UnitRecord]:
        """Wait until at most so many units are in flight; the records of the others."""
        records = []
        while len(self._pending) > in_flight:
            record = self._pending.popleft().result()
            self._progress.advance(record.lines)
            records.append(record)
        return records

    def _count_rejects(self, rejected: int, rejects: Sequence[Reject]) -> None:
        self._rejected += rejected
        if rejected and self._rejected > self._max_bad_rows:
            first = rejects[0]
            raise InputError(
                f"{first.file}, line {first.line:,}: {first.reason} "
                f"({self._rejected:,} malformed lines so far, --max-bad-rows is "
                f"{self._max_bad_rows}): mend the line, or allow more and run the same again"
            )


def _group_units(chunks: Iterator[ParsedChunk]) -> Iterator[tuple[list[ParsedChunk], bool]]:
    """Group an input's chunks into units; with each, whether it is the input's last."""
    unit: list[ParsedChunk] = []
    for chunk in chunks:
        if unit and unit[-1].end.lines % BLOCK_ROWS == 0:
            yield unit, False
            unit = []
        unit.append(chunk)
    if unit:
        yield unit, True


def verify_inputs(
    inputs: Sequence[RawInput], done: Sequence[Sequence[UnitRecord]], *, quiet: bool = False
) -> None:
    """Compare inputs with what was read of them; a file that was merely touched passes.

    Raises:
        InputError: the content of an input changed: names the file and the lines.
    """
    for source, records in zip(inputs, done, strict=True):
        if not records or all(record.state == InputState.of(source.path) for record in records):
            continue
        ends = {record.end.lines: record.end for record in records}
        previous = 0
        for chunk in read_chunks(source, unit_rows=BLOCK_ROWS):
            expected = ends.pop(chunk.end.lines, None)
            if expected is not None and expected != chunk.end:
                raise _changed(source, previous, chunk.end.lines)
            previous = chunk.end.lines if expected else previous
            if not ends and not records[-1].last:
                break
        else:
            if ends or chunk.end.lines != records[-1].end.lines:
                raise _changed(source, previous, max([chunk.end.lines, *ends]))


def _changed(source: RawInput, after: int, until: int) -> InputError:
    return InputError(
        f"{source.path} changed since it was read (lines {after + 1:,} to {until:,}): "
        "bring the old content back, or start over with --restart"
    )
