"""The stages, driven: what is left to do becomes tasks, and what they did is put together."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from criteo_stream.base.errors import InputError, OutputError
from criteo_stream.base.progress import Progress
from criteo_stream.base.schema import FEATURE_COLUMNS, SPLITS
from criteo_stream.base.storage import make_folder
from criteo_stream.data.manifest import ShardEntry
from criteo_stream.prepare import tasks
from criteo_stream.prepare.assign_splits import inputs_to_count, ranges_of
from criteo_stream.prepare.borrow_fit import borrow_fit, take_tables
from criteo_stream.prepare.collect_fit import Fit, collect_fit
from criteo_stream.prepare.engine import Engine, RunsTasks, Task, run_tasks
from criteo_stream.prepare.extend_fit import limits_of, take_before
from criteo_stream.prepare.fit_records import (
    fingerprint_of,
    fitted_columns,
    refuse_after_encoding,
    verify_fitted,
)
from criteo_stream.prepare.options import PrepareExecution, PrepareOptions
from criteo_stream.prepare.read_watch import NewBlocks, ReadWatch, TooManyRejectsError
from criteo_stream.prepare.scratch import remove_scratch
from criteo_stream.prepare.splits import TRAIN, RangeSplit
from criteo_stream.prepare.stage1_read import ReadWork
from criteo_stream.prepare.stage2_fit import FitWork
from criteo_stream.prepare.stage3_encode import (
    EncodeWork,
    by_split,
    encoded_blocks,
    verify_shards,
)
from criteo_stream.prepare.stage_plan import (
    EncodePlan,
    FitPlan,
    PlannedInput,
    ReadPlan,
    StagePlan,
    StoppedError,
    written,
)
from criteo_stream.prepare.task import identity_of_fit
from criteo_stream.prepare.work_records import BlockRecord, LineCount
from criteo_stream.prepare.workspace import Workspace
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.layouts import Layout

Item = TypeVar("Item")


def _read_elsewhere(run: RunsTasks, left: Sequence[int], news: NewBlocks) -> None:
    """Read inputs by tasks that are heard of by their records alone."""
    try:
        run(tasks.read_source, numbers=left, meanwhile=news.look)
    except TooManyRejectsError as error:
        with suppress(TooManyRejectsError):
            news.look()
        raise news.watch.with_what_was_heard(error) from None


@dataclass(kw_only=True)
class Stages:
    """Drives the stages of one preparation, one after the other."""

    engine: Engine
    named: Mapping[Path, RangeSplit]
    """See `named_splits`."""
    workspace: Workspace
    task: str
    """Fingerprint of all that decides the output."""
    inputs: Sequence[Beginning]
    layout: Layout
    options: PrepareOptions
    execution: PrepareExecution
    tell: Callable[[str], None]
    times: dict[str, dict[str, float]] = field(default_factory=dict)
    """Per stage: seconds, units per second, and cores of this process in use."""

    def read(self, done: Sequence[Sequence[BlockRecord]]) -> list[BlockRecord]:
        """Stage 1: read all inputs.

        Args:
            done: per input, the blocks that an earlier try finished.

        Returns:
            All blocks, in order.
        """
        plan = self._read_plan()
        plan = replace(plan, ranges=self._ranges(plan))
        reused = sum(record.lines for records in done for record in records)
        left = [n for n, records in enumerate(done) if not (records and records[-1].last)]
        # The largest first, so that no thread is left alone with a long one.
        left.sort(key=lambda n: (-self.inputs[n].estimated_rows, n))
        expected = {n: self._expected_lines(n, records) for n, records in enumerate(done)}
        with self._stage("read", sum(expected.values()), done=reused) as progress:
            watch = ReadWatch(self.execution.max_bad_rows, progress, expected)
            for record in (record for records in done for record in records):
                watch.rejected(record.source, record.rejected, record.rejects)
            work = partial(ReadWork, watch=watch, inputs=self.inputs)
            with self._tasks("read", plan, work) as run:
                if self.engine.shared:
                    news = NewBlocks(self.workspace, self.task, watch, list(map(len, done)))
                    _read_elsewhere(run, left, news)
                else:
                    run(tasks.read_source, numbers=left)
        found = [self.workspace.finished_blocks(n, self.task) for n in range(len(self.inputs))]
        for beginning, blocks in zip(self.inputs, found, strict=True):
            if not (blocks and blocks[-1].last):
                raise OutputError(
                    f"the record of a block of {beginning.source} is gone: "
                    "let nothing else write into the folder, and run the same command again"
                )
        return [record for blocks in found for record in blocks]

    def _expected_lines(self, number: int, records: Sequence[BlockRecord]) -> int:
        read = records[-1].end.lines if records else 0
        is_whole = bool(records) and records[-1].last
        return read if is_whole else max(self.inputs[number].estimated_rows, read)

    def _read_plan(self) -> ReadPlan:
        """The plan but for splits that go by place."""
        valid, test = self.options.fractions
        return ReadPlan(
            **self._common(),
            task=self.task,
            inputs=[PlannedInput.of(beginning.source) for beginning in self.inputs],
            ranges=[],
            valid=valid,
            test=test,
            keep_negatives=self.options.keep_negatives,
            layout=self.layout.name,
            block_rows=self.options.block_rows,
            seed=self.options.seed,
            keep_order=self.options.keep_order,
            pad_short_lines=self.options.short_lines == "pad",
            max_bad_rows=self.execution.max_bad_rows,
        )

    def _ranges(self, plan: ReadPlan) -> list[RangeSplit]:
        """The splits that go by place, for which lines may have to be counted."""
        needed = inputs_to_count(self.inputs, self.options, self.named)
        left = [number for number in needed if not self._is_counted(number, plan)]
        if left:
            rows = {number: self.inputs[number].estimated_rows for number in left}
            with self._stage("count", sum(rows.values()), unit="lines") as progress:
                work = partial(ReadWork, watch=ReadWatch(0, progress, rows), inputs=self.inputs)
                with self._tasks("count", plan, work) as run:
                    run(tasks.count_source, numbers=left)
        lines = {n: self.workspace.read(self.workspace.lines(n), LineCount).lines for n in needed}
        return ranges_of(self.inputs, self.options, self.named, lines, self.tell)

    def _is_counted(self, number: int, plan: ReadPlan) -> bool:
        known = self.workspace.find(self.workspace.lines(number), LineCount)
        state = plan.state_of(self.inputs[number].source)
        return known is not None and known.state.agrees_with(state)

    def fit(self, records: Sequence[BlockRecord]) -> Fit:
        """Stage 2: merge the counts of all blocks into vocabularies and tables."""
        if self.options.fit_from is not None:
            return borrow_fit(self.workspace, self.options.fit_from)
        rows = sum(record.rows[TRAIN] for record in records)
        if not rows:
            raise InputError(
                "no row is in the training split, so there is nothing to fit: check the inputs, "
                "the split options and --keep-negatives"
            )
        before = take_before(self.options.extend, self.workspace.before)
        extends = identity_of_fit(before) if before else None
        min_count, max_vocabulary = limits_of(self.options, rows, before)
        if before is None and self.options.min_count is None:
            self.tell(f"for {rows:,} training rows: --min-count {min_count}")
        make_folder(self.workspace.data.vocabularies)
        if not self.options.no_counts:
            make_folder(self.workspace.data.all_counts)
        done = fitted_columns(self.workspace, fingerprint_of(records, extends))
        self._on_threads(lambda c: verify_fitted(self.workspace, c, done[c]), done)
        if left := [n for n, column in enumerate(FEATURE_COLUMNS) if column not in done]:
            first = min(FEATURE_COLUMNS[number] for number in left)
            refuse_after_encoding(self.workspace, first, len(records))
            plan = FitPlan(
                **self._common(),
                blocks=list(records),
                min_count=min_count,
                max_vocabulary=max_vocabulary,
                keeps_counts=not self.options.no_counts,
                extends=extends,
            )
            if before is not None:
                take_tables(self.workspace, self.workspace.before.path, before, without=done)
            self._fit_columns(plan, left)
        return collect_fit(self.workspace, records, min_count, extends)

    def _fit_columns(self, plan: FitPlan, left: Sequence[int]) -> None:
        entries = [sum(record.runs[c] for record in plan.blocks) for c in FEATURE_COLUMNS]
        reused = sum(entries) - sum(entries[number] for number in left)
        with (
            self._stage("fit", sum(entries), done=reused, unit="counts") as progress,
            self._tasks("fit", plan, FitWork) as run,
        ):
            run(tasks.verify_block, numbers=range(len(plan.blocks)))
            # Those with most entries first, so that no thread is left alone with a long one.
            run(
                tasks.fit_column,
                numbers=sorted(left, key=lambda n: (-entries[n], n)),
                done=lambda number: progress.advance(entries[number]),
            )

    def encode(self, records: Sequence[BlockRecord], fit: Fit) -> dict[str, list[ShardEntry]]:
        """Stage 3: encode all blocks; the shards of each split, in order."""
        workspace, identity = self.workspace, fit.tables_and_lookups
        for split in SPLITS:
            make_folder(workspace.data.split(split))
        done = encoded_blocks(workspace, records, identity)
        self._on_threads(lambda shards: verify_shards(workspace, shards), done.values())
        for number in done:  # a try that was killed may have left it
            remove_scratch(workspace.blocks, records[number])
        left = [number for number in range(len(records)) if number not in done]
        rows = [sum(record.rows) for record in records]
        reused = sum(rows[number] for number in done)
        plan = EncodePlan(**self._common(), blocks=list(records), files=fit.encode_with)
        with self._stage("encode", sum(rows), done=reused) as progress:

            def finished(number: int) -> None:
                remove_scratch(workspace.blocks, records[number])
                if self.engine.shared:
                    progress.advance(rows[number])

            with self._tasks("encode", plan, partial(EncodeWork, progress=progress)) as run:
                run(tasks.encode_block, numbers=left, done=finished)
        return by_split(encoded_blocks(workspace, records, identity))

    def _on_threads(self, function: Callable[[Item], None], items: Iterable[Item]) -> None:
        """Do what mostly waits for the disk, here, for all items."""
        with ThreadPoolExecutor(self.execution.budget.threads, "verify") as pool:
            for _ in pool.map(function, items):
                pass

    def _common(self) -> dict[str, Any]:
        """What every plan says."""
        budget = self.execution.budget
        return {
            "out": str(self.workspace.data.path.absolute()),
            "memory": budget.total_bytes,
            "workers": budget.workers,
            "shared": self.engine.shared,
        }

    @contextmanager
    def _tasks(self, kind: str, plan: StagePlan, work: Callable[..., Any]) -> Iterator[RunsTasks]:
        """Run tasks of a plan; those in this process do ``work(path, plan, host)``."""
        with written(plan, kind) as path:
            host = self.engine.host
            home = tasks.at_home(path, work(path, plan, host)) if host else nullcontext()
            with home:
                try:
                    yield partial(self._run, path)
                except StoppedError:
                    raise OutputError(
                        f"another process went on with {plan.out}: let it finish, or choose "
                        "another --out"
                    ) from None

    def _run(
        self,
        plan: Path,
        task: Task,
        *,
        numbers: Sequence[int],
        done: Callable[[int], None] = lambda _: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        def every_second() -> None:
            if self.workspace.lease:
                self.workspace.lease.check()
            meanwhile()

        run_tasks(self.engine.executor, task, plan, numbers, done=done, meanwhile=every_second)

    @contextmanager
    def _stage(
        self, name: str, total: int, *, done: int = 0, unit: str = "rows"
    ) -> Iterator[Progress]:
        """Show a stage's progress, and take its time."""
        start, cpu = time.perf_counter(), time.process_time()
        with Progress(name, total, done=done, quiet=self.execution.quiet, unit=unit) as bar:
            yield bar
        seconds = time.perf_counter() - start
        self.times[name] = {
            "seconds": round(seconds, 3),
            f"{unit}_per_second": round((bar.done - done) / seconds),
            "cores": round((time.process_time() - cpu) / seconds, 2),
        }
