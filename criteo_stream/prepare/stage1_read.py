"""Stage 1, read: raw lines are parsed and validated once, counted, and kept as compact scratch."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.base.errors import InputError
from criteo_stream.base.file_state import FileState
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.progress import Progress
from criteo_stream.base.schema import FEATURE_COLUMNS, LABEL, SPLITS
from criteo_stream.prepare.beginning import Beginning
from criteo_stream.prepare.chunks import Position, read_chunks
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

    While a block's columns are coded and written, the next block's lines are read and parsed.

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
        self._progress = progress
        self._chunks_in_flight = context.budget.chunks_in_flight
        self._columns_in_flight = context.budget.columns_in_flight
        self._options = options
        self._parse = partial(
            parse_chunk, layout=layout, pad_short_lines=options.short_lines == "pad"
        )
        self._max_bad_rows = max_bad_rows
        self._rejected = 0
        # Waits for the disk, so that no worker does.
        self._writer = ThreadPoolExecutor(1, "scratch")

    def read(
        self, inputs: Sequence[Beginning], splits: Sequence[Split], done: list[list[BlockRecord]]
    ) -> list[BlockRecord]:
        """Read all inputs.

        Args:
            inputs: in natural order.
            splits: per input.
            done: per input, the finished blocks from its start on.

        Returns:
            All blocks, in order.
        """
        records: list[BlockRecord] = []
        with self._writer:
            pending: Future[BlockRecord] | None = None
            for number, beginning in enumerate(inputs):
                finished = done[number]
                records += finished
                for record in finished:
                    self._count_rejects(record.rejected, record.rejects)
                if finished and finished[-1].last:
                    continue
                for block in self._read_input(number, beginning, finished):
                    if pending:  # one block in the making at a time holds the memory budget
                        records.append(pending.result())
                    pending = self._begin(block, splits[number], beginning.source.name)
            if pending:
                records.append(pending.result())
        return sorted(records, key=lambda r: (r.source, r.block))

    def _read_input(
        self, number: int, beginning: Beginning, finished: list[BlockRecord]
    ) -> Iterator["_ParsedBlock"]:
        source = beginning.source
        state = FileState.of(source.path)
        start = finished[-1].end.position if finished else Position()
        block_rows = self._options.block_rows
        chunks = read_chunks(beginning, block_rows=block_rows, start=start)
        parsed = ordered_map(self._pool, self._parse, chunks, self._chunks_in_flight)
        blocks = _group_blocks(self._watched(parsed, start.lines), block_rows)
        for block, (group, last) in enumerate(blocks, start=len(finished)):
            if FileState.of(source.path) != state:
                raise InputError(
                    f"{source.path} changed while it was read: wait until it is complete, then "
                    "run the same again, which compares what was read with the file as it is then"
                )
            end = group[-1].end
            yield _ParsedBlock(
                chunks=group,
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

    def _begin(self, block: "_ParsedBlock", split: Split, source_name: str) -> Future[BlockRecord]:
        """Start to code and write a block; empties ``block.chunks`` on the way."""
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
        return self._writer.submit(
            self._finish, block, label, parts, order, rows=rows, rejected=rejected, rejects=rejects
        )

    def _finish(
        self,
        block: "_ParsedBlock",
        label: npt.NDArray[np.uint8],
        parts: deque[list[pl.Series]],
        order: npt.NDArray[np.int64],
        *,
        rows: list[int],
        rejected: int,
        rejects: list[Reject],
    ) -> BlockRecord:
        """Code and write a block's columns, a few at a time, then its record; empties ``parts``."""
        each = (parts.popleft() for _ in FEATURE_COLUMNS)
        code = partial(code_column, order=order, training_rows=rows[TRAIN])
        columns = ordered_map(self._pool, code, each, self._columns_in_flight)
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

    def _count_rejects(self, rejected: int, rejects: Sequence[Reject]) -> None:
        self._rejected += rejected
        if rejected and self._rejected > self._max_bad_rows:
            raise too_many_rejects(rejects[0], self._rejected, self._max_bad_rows)


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
