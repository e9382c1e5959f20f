"""Stage 1, read: raw lines are parsed and validated once, counted, and kept as compact scratch."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.base.errors import InputError
from criteo_stream.base.file_state import FileState
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.records import write_record
from criteo_stream.base.schema import FEATURE_COLUMNS, LABEL, SPLITS
from criteo_stream.prepare.host import Host
from criteo_stream.prepare.read_watch import ReadWatch
from criteo_stream.prepare.scratch import code_column, write_scratch
from criteo_stream.prepare.splits import THINNED, TRAIN, thin, written_order
from criteo_stream.prepare.stage_plan import ReadPlan, check_wanted
from criteo_stream.prepare.work_records import BlockEnd, BlockRecord, LineCount, block_name
from criteo_stream.raw.beginning import Beginning, read_beginning
from criteo_stream.raw.chunks import Chunk, Position, count_lines, first_position, read_chunks
from criteo_stream.raw.malformed import KEPT_OF_BLOCK
from criteo_stream.raw.parse import ParsedChunk, parse_chunk


class ReadWork:
    """Reads inputs into the workspace's blocks, each continuing after those that are there.

    Several inputs are read at a time, each by a thread that decompresses, says where lines end,
    and leaves the rest to the host's pool. While a block's columns are coded and written, the
    lines of the next are read and parsed.

    Args:
        path: of the plan.
        plan: what to read and how.
        host: does the work.
        watch: hears of lines as they are parsed; default one of this process alone.
        inputs: whose beginnings were read already; default none.
    """

    plan_of = ReadPlan

    def __init__(
        self,
        path: Path,
        plan: ReadPlan,
        host: Host,
        watch: ReadWatch | None = None,
        inputs: Sequence[Beginning] = (),
    ) -> None:
        self.plan = plan
        self._path = path
        self._workspace = plan.workspace
        self._host = host
        self._inputs = inputs
        self._watch = watch or ReadWatch(plan.max_bad_rows)
        self._streams = plan.budget.streams(len(plan.inputs))
        self._each = host.shares(self._streams)
        self._parse = partial(
            parse_chunk, layout=plan.parsed_as, pad_short_lines=plan.pad_short_lines
        )

    def close(self) -> None:
        """Nothing is held."""

    def count(self, number: int) -> None:
        """Count an input's lines, and record them.

        Raises:
            InputError: the file is damaged, or changed since its lines were counted.
            StoppedError: nobody wants it any more.
        """
        with self._host.slot("read", self._streams):
            check_wanted(self._path)
            beginning = self._beginning(number)
            state = self.plan.state_of(beginning.source)
            lines = count_lines(
                beginning, self._counted, pool=self._host.pool, ahead=self._each.chunks
            )
            path = self._workspace.lines(number)
            known = self._workspace.find(path, LineCount)
            if known is not None and known.lines != lines:
                raise InputError(
                    f"{beginning.source} changed since its lines were counted "
                    f"({known.lines:,} then, {lines:,} now): bring it back, or start over with "
                    "--restart"
                )
            self._watch.expect(number, lines)
            write_record(path, LineCount(lines=lines, state=state), unique=True)

    def _beginning(self, number: int) -> Beginning:
        if self._inputs:
            return self._inputs[number]
        return read_beginning(self.plan.inputs[number].source)

    def _counted(self, lines: int) -> None:
        check_wanted(self._path)
        self._watch.advance(lines)

    def read(self, number: int) -> None:
        """Read what is left of an input.

        Raises:
            InputError: the file is damaged, changed meanwhile, or has too many malformed lines.
            StoppedError: nobody wants it any more.
        """
        with self._host.slot("read", self._streams):
            check_wanted(self._path)
            finished = self._workspace.finished_blocks(number, self.plan.task)
            if finished and finished[-1].last:
                return
            making: deque[Future[None]] = deque()
            try:
                for block in self._blocks(number, finished):
                    if len(making) == self._each.blocks:  # more would not fit the memory
                        making.popleft().result()
                    making.append(self._host.writers.submit(self._finish, block))
                    del block
            finally:  # what was read before an error is kept
                wait(making)
            while making:
                making.popleft().result()

    def _blocks(self, number: int, finished: list[BlockRecord]) -> Iterator["_ParsedBlock"]:
        beginning = self._beginning(number)
        source = beginning.source
        state = self.plan.state_of(source)
        start = finished[-1].end.position if finished else None
        place = start or first_position(beginning)
        for block, group in enumerate(self._groups(number, beginning, start), len(finished)):
            if self.plan.state_of(source) != state:
                raise InputError(
                    f"{source} changed while it was read: wait until it is complete, then "
                    "run the same again, which compares what was read with the file as it is then"
                )
            before = place.lines
            for chunk in group.chunks:
                place = place.after(chunk.extent)
            yield _ParsedBlock(
                chunks=group.chunks,
                source=number,
                name=source.name,
                block=block,
                state=state,
                lines=place.lines - before,
                end=place,
                last=group.last,
            )

    def _groups(
        self, number: int, beginning: Beginning, start: Position | None
    ) -> Iterator["_Group"]:
        block_rows, pool, each = self.plan.block_rows, self._host.pool, self._each
        chunks = read_chunks(
            beginning, block_rows=block_rows, start=start, pool=pool, ahead=each.pieces
        )
        parsed = ordered_map(pool, self._parse, self._expected(number, chunks), each.chunks)
        return _grouped(self._watched(number, parsed), start.lines if start else 0, block_rows)

    def _expected(self, number: int, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            if chunk.share:
                self._watch.expect(number, (chunk.first_line + chunk.lines) / chunk.share)
            yield chunk

    def _watched(self, number: int, parsed: Iterable[ParsedChunk]) -> Iterator[ParsedChunk]:
        for chunk in parsed:
            check_wanted(self._path)
            self._watch.rejected(number, chunk.rejected, chunk.rejects)
            self._watch.advance(chunk.extent.lines)
            yield chunk

    def _split_codes(self, block: "_ParsedBlock") -> npt.NDArray[np.uint8]:
        """Per valid line of a block: its split, or that it is left out."""
        lines = np.concatenate([chunk.line_numbers for chunk in block.chunks])
        codes = self.plan.split(block.source, block.name).codes(lines)
        if self.plan.keep_negatives == 1:
            return codes
        return thin(
            codes,
            np.concatenate([chunk.frame[LABEL].to_numpy() for chunk in block.chunks]),
            lines,
            seed=self.plan.seed,
            name=block.name,
            keep_negatives=self.plan.keep_negatives,
        )

    def _finish(self, block: "_ParsedBlock") -> None:
        """Code and write a block, a few columns at a time, then its record; empties its chunks."""
        plan, chunks = self.plan, block.chunks
        split_codes = self._split_codes(block)
        order = written_order(
            split_codes,
            seed=plan.seed,
            name=block.name,
            block=block.block,
            keep_order=plan.keep_order,
        )
        *rows, thinned = np.bincount(split_codes, minlength=len(SPLITS) + 1).tolist()
        rejected = sum(c.rejected for c in chunks)
        rejects = [reject for c in chunks for reject in c.rejects][:KEPT_OF_BLOCK]
        frames = [c.frame for c in chunks]
        chunks.clear()
        if thinned:
            order = _without_thinned(frames, order, split_codes != THINNED)
        label = pl.concat([frame[LABEL] for frame in frames]).to_numpy().take(order)
        parts = deque([frame[c] for frame in frames] for c in FEATURE_COLUMNS)
        frames.clear()
        columns = ordered_map(
            self._host.pool,
            partial(code_column, order=order, training_rows=rows[TRAIN]),
            (parts.popleft() for _ in FEATURE_COLUMNS),
            self._each.columns,
        )
        name = block_name(block.source, block.block)
        written = write_scratch(self._workspace.blocks, name, label, columns)
        record = BlockRecord(
            task=plan.task,
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
            thinned=thinned,
        )
        if plan.shared:  # or a host that was cut off would write what a later try began anew
            check_wanted(self._path)
        self._workspace.record_block(record)


def _without_thinned(
    frames: list[pl.DataFrame], order: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Drop the rows of a block that are left out; the order of those that stay.

    The other rows keep the order that they have without thinning: valid and test stay the same.
    """
    start = 0
    for number, frame in enumerate(frames):
        frames[number] = frame.filter(kept[start : start + frame.height])
        start += frame.height
    places = np.cumsum(kept) - 1
    return places[order[: np.count_nonzero(kept)]]


@dataclass(frozen=True, kw_only=True)
class _ParsedBlock:
    """The parsed lines of a block, and what its record will say of them."""

    chunks: list[ParsedChunk]
    source: int
    name: str
    """Of its input."""
    block: int
    state: FileState
    lines: int
    end: Position
    last: bool


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The chunks of a block, and whether it is its input's last."""

    chunks: list[ParsedChunk]
    last: bool


def _grouped(chunks: Iterator[ParsedChunk], lines: int, block_rows: int) -> Iterator[_Group]:
    """Group an input's chunks, from a line on, into blocks."""
    block: list[ParsedChunk] = []
    for chunk in chunks:
        if block and lines % block_rows == 0:
            yield _Group(chunks=block, last=False)
            block = []
        block.append(chunk)
        lines += chunk.extent.lines
    if block:
        yield _Group(chunks=block, last=True)
