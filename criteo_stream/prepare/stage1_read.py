"""Stage 1, read: raw lines are parsed and validated once, counted, and kept as compact scratch."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from criteo_stream.base.errors import InputError
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.progress import Progress
from criteo_stream.base.schema import FEATURE_COLUMNS, LABEL, SPLITS
from criteo_stream.prepare.beginning import Beginning
from criteo_stream.prepare.chunks import Position, first_position, read_chunks
from criteo_stream.base.file_state import FileState
from criteo_stream.prepare.layouts import Layout
from criteo_stream.prepare.malformed import KEPT_OF_BLOCK, Reject, too_many_rejects
from criteo_stream.prepare.options import PrepareOptions
from criteo_stream.prepare.parse import ParsedChunk, parse_chunk
from criteo_stream.prepare.scratch import code_column, write_scratch
from criteo_stream.prepare.splits import TRAIN, Split, written_order
from criteo_stream.prepare.stage_context import StageContext
from criteo_stream.prepare.work_records import BlockEnd, BlockRecord, block_name


class Reader:
    """Reads inputs into the workspace's blocks, continuing after those that are there.

    Several inputs are read at a time, each by a thread that finds its lines and leaves the rest to
    the pool: parsing, checksums, coding. While a block's columns are coded and written, the lines
    of the next are read and parsed.

    Args:
        context: where the blocks go, and who does the work.
        options: of the preparation.
        layout: of all inputs.
        max_bad_rows: malformed lines to leave out (and record) before giving up.
        progress: is told of lines as they are parsed.
    """

    def __init__(
        self,
        context: StageContext,
        options: PrepareOptions,
        layout: Layout,
        *,
        max_bad_rows: int,
        progress: Progress,
    ) -> None:
        self._workspace = context.workspace
        self._pool = context.pool
        self._budget = context.budget
        self._progress = progress
        self._options = options
        self._parse = partial(
            parse_chunk, layout=layout, pad_short_lines=options.short_lines == "pad"
        )
        self._rejects = _Rejects(max_bad_rows)
        self._stopped = threading.Event()

    def read(
        self, inputs: Sequence[Beginning], splits: Sequence[Split], done: list[list[BlockRecord]]
    ) -> list[BlockRecord]:
        """Read all inputs.

        Args:
            inputs: in their order.
            splits: per input.
            done: per input, the finished blocks from its start on.

        Returns:
            All blocks, in order.
        """
        for record in (record for records in done for record in records):
            self._rejects.add(record.source, record.rejected, record.rejects)
        left = [n for n, finished in enumerate(done) if not (finished and finished[-1].last)]
        # The largest first, so that no thread is left alone with a long one.
        left.sort(key=lambda n: (-inputs[n].estimated_rows, n))
        streams = self._budget.streams(len(left))
        each = _Shares(
            chunks=-(-self._budget.chunks_in_flight // max(1, streams)) + (streams > 1),
            columns=-(-self._budget.columns_in_flight // max(1, streams)) + (streams > 1),
        )
        with (
            ThreadPoolExecutor(max(1, streams), "scratch") as writers,
            ThreadPoolExecutor(max(1, streams), "read") as readers,
        ):
            futures = {
                n: readers.submit(self._read_input, n, inputs[n], splits[n], done[n], each, writers)
                for n in left
            }
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
            finally:  # an interruption too ends every stream at its next chunk
                if not all(f.done() and not f.exception() for f in futures.values()):
                    self._stopped.set()
                    for future in futures.values():
                        future.cancel()
        failed = [f for _, f in sorted(futures.items()) if not f.cancelled() and f.exception()]
        for future in failed:
            if not isinstance(future.exception(), _StoppedError):
                future.result()  # of the first input, where several failed
        records = [record for records in done for record in records]
        records += [record for future in futures.values() for record in future.result()]
        return sorted(records, key=lambda r: (r.source, r.block))

    def _read_input(
        self,
        number: int,
        beginning: Beginning,
        split: Split,
        finished: list[BlockRecord],
        each: "_Shares",
        writers: Executor,
    ) -> list[BlockRecord]:
        """Read what is left of an input; its new blocks."""
        records: list[BlockRecord] = []
        pending: Future[BlockRecord] | None = None
        for block in self._parsed_blocks(number, beginning, finished, each):
            if pending:  # one block in the making at a time holds the memory budget
                records.append(pending.result())
            pending = writers.submit(self._finish, block, split, beginning.source.name, each)
            del block
        if pending:
            records.append(pending.result())
        return records

    def _parsed_blocks(
        self,
        number: int,
        beginning: Beginning,
        finished: list[BlockRecord],
        each: "_Shares",
    ) -> Iterator["_ParsedBlock"]:
        source = beginning.source
        state = FileState.of(source.path)
        start = finished[-1].end.position if finished else None
        block_rows = self._options.block_rows
        chunks = read_chunks(beginning, block_rows=block_rows, start=start)
        parsed = ordered_map(self._pool, self._parse, chunks, each.chunks)
        place = start or first_position(beginning)
        blocks = _group_blocks(self._watched(number, parsed), place.lines, block_rows)
        for block, (group, last) in enumerate(blocks, start=len(finished)):
            if FileState.of(source.path) != state:
                raise InputError(
                    f"{source.path} changed while it was read: wait until it is complete, then "
                    "run the same again, which compares what was read with the file as it is then"
                )
            before = place.lines
            for chunk in group:
                place = place.after(chunk.extent)
            yield _ParsedBlock(
                chunks=group,
                source=number,
                block=block,
                state=state,
                lines=place.lines - before,
                end=place,
                last=last,
            )

    def _watched(self, number: int, parsed: Iterable[ParsedChunk]) -> Iterator[ParsedChunk]:
        for chunk in parsed:
            if self._stopped.is_set():
                raise _StoppedError
            self._rejects.add(number, chunk.rejected, chunk.rejects)
            self._progress.advance(chunk.extent.lines)
            yield chunk

    def _finish(
        self, block: "_ParsedBlock", split: Split, source_name: str, each: "_Shares"
    ) -> BlockRecord:
        """Code and write a block, a few columns at a time, then its record; empties its chunks."""
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
        rejects = [reject for c in chunks for reject in c.rejects][:KEPT_OF_BLOCK]
        frames = [c.frame for c in chunks]
        chunks.clear()
        label = pl.concat([frame[LABEL] for frame in frames]).to_numpy().take(order)
        parts = deque([frame[c] for frame in frames] for c in FEATURE_COLUMNS)
        frames.clear()
        code = partial(code_column, order=order, training_rows=rows[TRAIN])
        columns = ordered_map(
            self._pool, code, (parts.popleft() for _ in FEATURE_COLUMNS), each.columns
        )
        name = block_name(block.source, block.block)
        written = write_scratch(self._workspace.blocks, name, label, columns)
        record = BlockRecord(
            source=block.source,
            block=block.block,
            state=block.state,
            lines=block.lines,
            end=BlockEnd(**asdict(block.end)),
            last=block.last,
            rows=rows,
            missing=written.missing,
            sums=written.sums,
            runs=written.runs,
            rejected=rejected,
            rejects=rejects,
            files=written.files,
        )
        self._workspace.record_block(record)
        return record


class _StoppedError(Exception):
    """Another stream failed."""


class _Shares(NamedTuple):
    """What each stream may have in flight."""

    chunks: int
    columns: int


class _Rejects:
    """Counts the malformed lines of all streams, up to a limit.

    Args:
        most: how many are left out before the work ends.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._first: tuple[int, Reject] | None = None
        self._lock = threading.Lock()

    def add(self, source: int, rejected: int, rejects: Sequence[Reject]) -> None:
        """Count lines of an input.

        Raises:
            InputError: they are too many: names the first of those met, by the order of inputs.
        """
        if not rejected:
            return
        with self._lock:
            self._count += rejected
            if self._first is None or source < self._first[0]:
                self._first = source, rejects[0]
            if self._count > self._most:
                raise too_many_rejects(self._first[1], self._count, self._most)


@dataclass(frozen=True, kw_only=True)
class _ParsedBlock:
    """The parsed lines of a block, and what its record will say of them."""

    chunks: list[ParsedChunk]
    source: int
    block: int
    state: FileState
    lines: int
    end: Position
    last: bool


def _group_blocks(
    chunks: Iterator[ParsedChunk], lines: int, block_rows: int
) -> Iterator[tuple[list[ParsedChunk], bool]]:
    """Group an input's chunks, from a line on, into blocks; with each, whether it is the last."""
    block: list[ParsedChunk] = []
    for chunk in chunks:
        if block and lines % block_rows == 0:
            yield block, False
            block = []
        block.append(chunk)
        lines += chunk.extent.lines
    if block:
        yield block, True
