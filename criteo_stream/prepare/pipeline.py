"""Raw logs to a prepared data set: three stages, then the manifest; each resumable.

read    raw lines are parsed and validated once, counted, and kept as compact scratch
fit     counts of all blocks are merged into vocabularies and quantile tables
encode  scratch becomes shards, one a block and split

The stages are tasks, which threads of this process do, or the workers of a Dask cluster. A killed
run continues after the last finished piece: of each input being read at most two blocks (2^20 lines
each), one column's merge or one block's shards per worker are done again, and a compressed
input is decompressed again from its beginning. Every file is byte-identical to that of a run
which was not killed, but for the manifest's ``times``.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.memory import PeakMemory
from criteo_stream.base.paths import user_path
from criteo_stream.base.storage import refuse_inside
from criteo_stream.base.terminal import say
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.announce import (
    empty_vocabularies,
    extension_text,
    large_drift,
    order_text,
    plan_text,
    reuse_text,
)
from criteo_stream.prepare.assign_splits import (
    named_splits,
    refuse_unnamed_days,
    share_thinned,
)
from criteo_stream.prepare.build_manifest import build_manifest
from criteo_stream.prepare.changed_inputs import (
    refuse_changed_since_made,
    refuse_changed_since_read,
)
from criteo_stream.prepare.cluster import check_place, cluster_engine
from criteo_stream.prepare.disk_space import estimate, refuse_too_large
from criteo_stream.prepare.engine import Engine, local_engine
from criteo_stream.prepare.options import (
    PrepareExecution,
    PrepareKeywords,
    PrepareOptions,
    checked,
)
from criteo_stream.prepare.result import PrepareResult
from criteo_stream.prepare.short_days import short_by_size, short_days
from criteo_stream.prepare.stages import Stages
from criteo_stream.prepare.task import identity_of_task, refuse_other_set, task_of
from criteo_stream.prepare.workspace import Workspace
from criteo_stream.raw.detect_layout import layout_of
from criteo_stream.raw.malformed import write_rejects
from criteo_stream.raw.take_inputs import take_inputs


def preprocess(
    raw: str | Path | Sequence[str | Path], out: str | Path, **options: Unpack[PrepareKeywords]
) -> PrepareResult:
    """Turn raw Criteo logs into a prepared data set; continue an interrupted preparation.

    Args:
        raw: files, folders or globs.
        out: the data set's folder.
        **options: what decides the output, see `PrepareOptions`, and how the work is done, see
            `PrepareExecution`. ``memory`` may also be a number of bytes.

    Returns:
        The figures of the run and the manifest.

    Raises:
        UsageError: an option is unknown or makes no sense.
        InputError: raw input that is missing, damaged, malformed or changed meanwhile.
        OutputError: ``out`` is in use, holds something else, or the disk is full.
        DataSetError: the set of ``fit_from`` or ``extend`` is incomplete or damaged.
    """
    arguments = [raw] if isinstance(raw, str | Path) else list(raw)
    with PeakMemory() as peak:
        return _Preparation(arguments, user_path(out), *checked(options)).run(peak)


class _Preparation:
    """One call of `preprocess`."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        out: Path,
        options: PrepareOptions,
        execution: PrepareExecution,
    ) -> None:
        self.options = options
        self.execution = execution
        self.out = out
        self.warnings: list[str] = []
        if execution.cluster is not None:
            check_place(execution.cluster)
        self.named = named_splits(options)
        self.inputs = take_inputs(
            arguments,
            (*options.valid_files, *options.test_files),
            tell=self._say,
            warn=self.warnings.append,
        )
        for warning in self.warnings:
            self._say(warning)
        self.sources = [beginning.source for beginning in self.inputs]
        self.layout = layout_of(self.inputs, options.layout)
        if not self.layout.labelled:
            raise InputError(
                f"{self.sources[0]} has no label column "
                f"({self.layout.separators + 1} fields a line): a data set to train on needs "
                "labels; `criteo-stream predict` takes unlabelled lines"
            )
        flag = "--extend" if options.extend else "--fit-from"
        if options.fit_of and options.fit_of.resolve() == out.resolve():
            raise UsageError(f"{flag} {options.fit_of} is --out itself: choose another --out")
        if options.fit_of and DataFolder(options.fit_of).manifest.exists():
            refuse_inside(out, options.fit_of)
        for source in self.sources:
            if source.path.resolve().is_relative_to(out.resolve()):
                raise UsageError(f"--out {out} holds the input {source}: choose another --out")
        refuse_unnamed_days(self.inputs, options, self.named)
        self.share_thinned = share_thinned(self.inputs, options, self.named)
        self.stages: dict[str, dict[str, float]] = {}
        self.started = time.perf_counter()

    def run(self, peak: PeakMemory) -> PrepareResult:
        """Run all stages that are not finished."""
        with Workspace.opened(
            self.out,
            restart=self.execution.restart,
            shared=self.execution.cluster is not None,
            tell=self._say,
        ) as workspace:
            if workspace.data.manifest.exists():
                resumed, manifest = True, self._finished()
            else:
                resumed, manifest = self._prepare(workspace, peak)
                self.warnings += short_days(self.sources, manifest)
                self.warnings += empty_vocabularies(manifest) + large_drift(manifest.extension)
            workspace.remove()
        return PrepareResult(
            out=self.out,
            manifest=manifest,
            seconds=time.perf_counter() - self.started,
            peak_memory_bytes=peak.peak_bytes,
            stages=self.stages,
            resumed=resumed,
            warnings=self.warnings,
        )

    def _finished(self) -> Manifest:
        """The manifest of a set that is already complete, if it is what was asked for."""
        manifest = Manifest.read(self.out)
        task = task_of(self.options, self.sources, self.layout)
        refuse_other_set(self.out, manifest.options, task)
        refuse_changed_since_made(self.inputs, manifest.inputs)
        self._say(f"{self.out} is already finished")
        return manifest

    def _prepare(self, workspace: Workspace, peak: PeakMemory) -> tuple[bool, Manifest]:
        """All stages; whether an earlier try's blocks were reused, and the manifest."""
        task = task_of(self.options, self.sources, self.layout)
        workspace.begin(task)
        identity = identity_of_task(task)
        done = [workspace.finished_blocks(n, identity) for n in range(len(self.inputs))]
        budget = self.execution.budget
        needed = estimate(self.inputs, budget.threads, self.share_thinned)
        for line in plan_text(self.inputs, self.layout, needed, budget, self.execution.cluster):
            self._say(line)
        if len(self.inputs) > 1:
            self._say(order_text(self.inputs))
        if reused := reuse_text(self.inputs, workspace, done):
            self._say(reused)
        for line in short_by_size(self.inputs, done):  # `short_days` tells the exact rows later
            self._say(line)
        refuse_too_large(self.out, needed)
        refuse_changed_since_read(self.inputs, done, self.options.block_rows, self._say)
        with self._engine() as engine:
            stages = Stages(
                engine=engine,
                named=self.named,
                workspace=workspace,
                task=identity,
                inputs=self.inputs,
                layout=self.layout,
                options=self.options,
                execution=self.execution,
                tell=self._say,
                times=self.stages,
            )
            records = stages.read(done)
            fit = stages.fit(records)
            if self.options.extend and fit.extension:
                sizes = [column.ids for column in fit.categorical]
                for line in extension_text(fit.extension, sizes):
                    self._say(line)
            shards = stages.encode(records, fit)
        rejects = (reject for record in records for reject in record.rejects)
        rejected = write_rejects(workspace.data.rejected, rejects)
        manifest = build_manifest(
            task=task,
            inputs=self.sources,
            records=records,
            fit=fit,
            shards=shards,
            rejected=rejected,
            times={
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.perf_counter() - self.started, 3),
                "stages": self.stages,
                "peak_memory_bytes": peak.peak_bytes,
            },
        )
        if workspace.lease:
            workspace.lease.check()
        workspace.tidy()
        manifest.write(self.out)
        return any(done), manifest

    def _engine(self) -> AbstractContextManager[Engine]:
        if self.execution.cluster is not None:
            return cluster_engine(self.execution.cluster, self._say)
        return local_engine(self.execution.budget)

    def _say(self, line: str) -> None:
        if not self.execution.quiet:
            say(line)
