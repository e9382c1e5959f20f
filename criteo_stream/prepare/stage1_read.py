"""Stage 1, read: raw lines are parsed and validated once, counted, and kept as compact scratch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.base.errors import InputError
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.progress import Progress
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL, SPLITS
from criteo_stream.prepare.inputs import Layout, Position, RawInput, read_chunks
from criteo_stream.prepare.options import PrepareOptions, Resources
from criteo_stream.prepare.parse import ParsedChunk, Reject, parse_chunk, too_many_rejects
from criteo_stream.prepare.splits import TRAIN, Split, written_order
from criteo_stream.prepare.units import CodedColumn, code_column, sum_of, write_unit
from criteo_stream.prepare.workspace import InputState, UnitRecord, Workspace, unit_name

KEPT_REJECTS: Final = 100
"""Malformed lines that are kept per work unit."""


class Reader:
    """Reads inputs into the workspace's work units, continuing after those that are there.

    While a unit's columns are coded and written, the next unit's lines are read and parsed.
    """

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
        self._chunks_in_flight = resources.threads + 1
        self._parse = partial(
            parse_chunk, layout=layout, pad_short_lines=options.short_lines == "pad"
        )
        self._max_bad_rows = max_bad_rows
        self._progress = progress
        self._rejected = 0
        # Waits for the disk, so that no worker does.
        self._writer = ThreadPoolExecutor(1, "scratch")

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
        with self._writer:
            pending: Future[UnitRecord] | None = None
            for number, source in enumerate(inputs):
                finished = done[number]
                records += finished
                for record in finished:
                    self._count_rejects(record.rejected, [Reject(**r) for r in record.rejects])
                if finished and finished[-1].last:
                    continue
                for block in self._read_input(number, source, finished):
                    if pending:  # one unit in the making at a time holds the memory budget
                        records.append(pending.result())
                    pending = self._begin(block, splits[number], source.name)
            if pending:
                records.append(pending.result())
        return sorted(records, key=lambda r: (r.source, r.block))

    def _read_input(
        self, number: int, source: RawInput, finished: list[UnitRecord]
    ) -> Iterator["_Block"]:
        state = InputState.of(source.path)
        start = finished[-1].end if finished else Position()
        block_rows = self._options.block_rows
        chunks = read_chunks(source, unit_rows=block_rows, start=start)
        parsed = ordered_map(self._pool, self._parse, chunks, self._chunks_in_flight)
        blocks = _group_blocks(self._watched(parsed, start.lines), block_rows)
        for block, (unit, last) in enumerate(blocks, start=len(finished)):
            if InputState.of(source.path) != state:
                raise InputError(
                    f"{source.path} changed while it was read: wait until it is complete, then "
                    "run the same again, which compares what was read with the file as it is then"
                )
            end = unit[-1].end
            yield _Block(
                chunks=unit,
                source=number,
                block=block,
                state=state,
                lines=end.lines - start.lines,
                end=end,
                last=last,
            )
            start = end

    def _watched(self, parsed: Iterable[ParsedChunk], lines: int) -> Iterator[ParsedChunk]:
        for chunk in parsed:
            self._count_rejects(chunk.rejected, chunk.rejects)
            self._progress.advance(chunk.end.lines - lines)
            lines = chunk.end.lines
            yield chunk

    def _begin(self, block: "_Block", split: Split, source_name: str) -> Future[UnitRecord]:
        """Start to code and write a unit; empties ``block.chunks`` on the way."""
        chunks = block.chunks
        split_codes = split.codes(np.concatenate([c.line_numbers for c in chunks]))
        order = written_order(
            split_codes,
            seed=self._options.seed,
            name=source_name,
            block=block.block,
            keep_order=self._options.keep_order,
        )
        rows = np.bincount(split_codes, minlength=len(SPLITS)).tolist()
        rejected = sum(c.rejected for c in chunks)
        rejects = [asdict(reject) for c in chunks for reject in c.rejects][:KEPT_REJECTS]
        frames = [c.frame for c in chunks]
        chunks.clear()
        label = pl.concat([frame[LABEL] for frame in frames]).to_numpy().take(order)
        columns = [
            self._pool.submit(code_column, [frame[c] for frame in frames], order, rows[TRAIN])
            for c in FEATURE_COLUMNS
        ]
        return self._writer.submit(
            self._finish, block, label, columns, rows=rows, rejected=rejected, rejects=rejects
        )

    def _finish(
        self,
        block: "_Block",
        label: npt.NDArray[np.uint8],
        futures: list[Future[CodedColumn]],
        *,
        rows: list[int],
        rejected: int,
        rejects: list[dict[str, Any]],
    ) -> UnitRecord:
        """Write a unit's scratch, then its record."""
        columns = {c: f.result() for c, f in zip(FEATURE_COLUMNS, futures, strict=True)}
        name = unit_name(block.source, block.block)
        files = write_unit(self._workspace.units, name, label, list(columns.values()))
        record = UnitRecord(
            source=block.source,
            block=block.block,
            state=block.state,
            lines=block.lines,
            end=block.end,
            last=block.last,
            rows=rows,
            missing={c: column.missing for c, column in columns.items()},
            sums={c: sum_of(columns[c].run) for c in INTEGER_COLUMNS},
            runs={c: len(column.run.values) for c, column in columns.items()},
            rejected=rejected,
            rejects=rejects,
            files=files,
        )
        self._workspace.write_unit(record)
        return record

    def _count_rejects(self, rejected: int, rejects: Sequence[Reject]) -> None:
        self._rejected += rejected
        if rejected and self._rejected > self._max_bad_rows:
            raise too_many_rejects(rejects[0], self._rejected, self._max_bad_rows)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """The parsed lines of a unit, and what its record will say of them."""

    chunks: list[ParsedChunk]
    source: int
    block: int
    state: InputState
    lines: int
    end: Position
    last: bool


def _group_blocks(
    chunks: Iterator[ParsedChunk], block_rows: int
) -> Iterator[tuple[list[ParsedChunk], bool]]:
    """Group an input's chunks into blocks; with each, whether it is the input's last."""
    block: list[ParsedChunk] = []
    for chunk in chunks:
        if block and block[-1].end.lines % block_rows == 0:
            yield block, False
            block = []
        block.append(chunk)
    if block:
        yield block, True


def verify_inputs(
    inputs: Sequence[RawInput],
    done: Sequence[Sequence[UnitRecord]],
    block_rows: int,
    tell: Callable[[str], None],
) -> None:
    """Compare inputs with what was read of them; a file that was merely touched passes.

    ``tell`` hears of each file that has to be read for it.

    Raises:
        InputError: the content of an input changed: names the file and the lines.
    """
    for source, records in zip(inputs, done, strict=True):
        if not records or all(record.state == InputState.of(source.path) for record in records):
            continue
        tell(f"{source.path} was touched since it was read: comparing its content")
        ends = {record.end.lines: record.end for record in records}
        read = previous = 0
        for chunk in read_chunks(source, unit_rows=block_rows):
            read = chunk.end.lines
            expected = ends.pop(read, None)
            if expected is not None and expected != chunk.end:
                raise _changed(source, previous, read)
            previous = read if expected else previous
            if not ends and not records[-1].last:
                break
        if ends or (records[-1].last and read != records[-1].end.lines):
            raise _changed(source, previous, max([read, *ends]))


def _changed(source: RawInput, after: int, until: int) -> InputError:
    return InputError(
        f"{source.path} changed since it was read (lines {after + 1:,} to {until:,}): "
        "bring the old content back, or start over with --restart"
    )
