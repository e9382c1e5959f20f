"""Raw logs to a prepared data set: three stages, then the manifest; each resumable.

read    raw lines are parsed and validated once, counted, and kept as compact scratch
fit     counts of all work units are merged into vocabularies and quantile tables
encode  scratch becomes shards, one a work unit and split

A killed run continues after the last finished piece: at most two units being read (2^20 lines
each), one column's merge a worker or one unit's shards a worker are done again, and a compressed
input is decompressed again from its beginning. Every file is byte-identical to that of a run
which was not killed, but for the manifest's ``times``.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from criteo_stream import __version__
from criteo_stream.base.amounts import format_size
from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.memory import PeakMemory
from criteo_stream.base.progress import Progress
from criteo_stream.base.schema import (
    CATEGORICAL_COLUMNS,
    FEATURE_COLUMNS,
    FORMAT_VERSION,
    ROW_GROUP_ROWS,
    SPLITS,
)
from criteo_stream.base.storage import write_bytes, write_json
from criteo_stream.data.manifest import MANIFEST_NAME, InputEntry, Manifest, ShardEntry
from criteo_stream.prepare.disk_space import Estimate, estimate, refuse_too_large
from criteo_stream.prepare.inputs import (
    Position,
    RawInput,
    count_lines,
    find_inputs,
    layout_of,
    read_chunks,
)
from criteo_stream.prepare.lookup import open_lookup
from criteo_stream.prepare.options import PrepareOptions, Resources, given_path
from criteo_stream.prepare.quantiles import read_tables
from criteo_stream.prepare.splits import (
    TRAIN,
    WHOLLY_TEST,
    WHOLLY_TRAIN,
    WHOLLY_VALID,
    HashedSplit,
    Split,
    last_day_split,
    tail_splits,
)
from criteo_stream.prepare.stage1_read import Reader, verify_inputs
from criteo_stream.prepare.stage2_fit import (
    QUANTILES,
    Fit,
    Fitter,
    borrow_fit,
    fitted_columns,
    lookup_path,
)
from criteo_stream.prepare.stage3_encode import ShardStage, encoded_units
from criteo_stream.prepare.workspace import (
    InputState,
    UnitRecord,
    Workspace,
    refuse_other_task,
)

_KEPT_REJECTS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What a preparation did; ``manifest`` is what it made."""

    out: Path
    manifest: Manifest
    seconds: float
    peak_memory_bytes: int
    stages: dict[str, dict[str, float]]
    """Per stage: seconds, rows_per_second, and cores (CPU seconds a second)."""
    resumed: bool
    """Whether work of an earlier try was reused."""
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The figures of ``--json``."""
        rows = self.manifest.rows
        return {
            "out": str(self.out),
            "rows": rows,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(rows["read"] / self.seconds) if self.seconds else 0,
            "peak_memory_bytes": self.peak_memory_bytes,
            "stages": self.stages,
            "resumed": self.resumed,
            "fingerprint": self.manifest.fingerprint,
            "warnings": self.warnings,
        }


def preprocess(
    raw: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    memory: str | int = "4GB",
    workers: int | None = None,
    max_bad_rows: int = 0,
    restart: bool = False,
    quiet: bool = False,
    **options: Any,
) -> PrepareResult:
    """Turn raw Criteo logs into a prepared data set; continue an interrupted preparation.

    Args:
        raw: files, folders or globs.
        out: the data set's folder.
        memory: budget of the process tree, such as ``"2GB"``; at least 1 GB.
        workers: threads; default all cores.
        max_bad_rows: malformed lines to leave out (and record) before giving up.
        restart: drop what an earlier try left in ``out``.
        quiet: show no progress.
        **options: what decides the output, see `PrepareOptions`.

    Returns:
        The figures of the run and the manifest.

    Raises:
        UsageError: an option makes no sense.
        InputError: raw input that is missing, damaged, malformed or changed meanwhile.
        OutputError: ``out`` is in use, holds something else, or the disk is full.
        DataSetError: the set of ``fit_from`` is incomplete or damaged.
    """
    arguments = [raw] if isinstance(raw, str | Path) else list(raw)
    resources = Resources.of(memory, workers)
    with PeakMemory() as peak:
        preparation = _Preparation(
            PrepareOptions(**options),
            arguments,
            Path(out),
            resources,
            max_bad_rows=max_bad_rows,
            quiet=quiet,
        )
        return preparation.run(peak, restart=restart)


class _Preparation:
    """One call of `preprocess`."""

    def __init__(
        self,
        options: PrepareOptions,
        arguments: Sequence[str | Path],
        out: Path,
        resources: Resources,
        *,
        max_bad_rows: int,
        quiet: bool,
    ) -> None:
        self.options = options
        self.valid_files = _found(options.valid_files)
        self.test_files = _found(options.test_files)
        _refuse_two_splits(self.valid_files & self.test_files)
        self.inputs = find_inputs([*arguments, *options.valid_files, *options.test_files])
        self.layout = layout_of(self.inputs, options.layout)
        if not self.layout.labelled:
            raise InputError(
                f"{self.inputs[0].path} has no label column (39 fields a line): a data set to "
                "train on needs labels; `criteo-stream predict` takes unlabelled lines"
            )
        if options.fit_from and Path(options.fit_from).resolve() == out.resolve():
            raise UsageError(f"--fit-from {options.fit_from} is --out itself: choose another --out")
        self.out = out
        self.resources = resources
        self.max_bad_rows = max_bad_rows
        self.quiet = quiet
        self.stages: dict[str, dict[str, float]] = {}
        self.started = time.perf_counter()

    def run(self, peak: PeakMemory, *, restart: bool) -> PrepareResult:
        """Run all stages that are not finished."""
        with Workspace.opened(self.out, restart=restart) as workspace:
            resumed = True
            warnings: list[str] = []
            if (self.out / MANIFEST_NAME).exists():
                manifest = self._finished()
            else:
                resumed, manifest, warnings = self._prepare(workspace, peak)
            workspace.remove()
        return PrepareResult(
            out=self.out,
            manifest=manifest,
            seconds=time.perf_counter() - self.started,
            peak_memory_bytes=peak.peak_bytes,
            stages=self.stages,
            resumed=resumed,
            warnings=warnings,
        )

    def _task(self) -> dict[str, Any]:
        """What must be the same for work to be reused."""
        task = {
            "format": FORMAT_VERSION,
            "package_version": __version__,
            "inputs": [given_path(source.path) for source in self.inputs],
            **self.options.to_dict(),
            "layout": self.layout.name,
        }
        if self.options.fit_from is not None:
            task["fit_from"] = Manifest.read(Path(self.options.fit_from)).fit_fingerprint
        return task

    def _finished(self) -> Manifest:
        """The manifest of a set that is already complete, if it is what was asked for."""
        manifest = Manifest.read(self.out)
        refuse_other_task(self.out, manifest.options, self._task())
        for source, entry in zip(self.inputs, manifest.inputs, strict=True):
            stat = source.path.stat()
            if (stat.st_size, stat.st_mtime_ns) != (entry.bytes, entry.mtime_ns):
                _refuse_changed(source, entry)
        self._say(f"{self.out} is already finished")
        return manifest

    def _prepare(self, workspace: Workspace, peak: PeakMemory) -> tuple[bool, Manifest, list[str]]:
        workspace.begin(self._task())
        done = _done_units(workspace, len(self.inputs))
        needed = estimate(self.inputs, self.resources.threads)
        self._announce(needed)
        self._announce_reuse(workspace, done)
        refuse_too_large(self.out, needed)
        verify_inputs(self.inputs, done, self.options.block_rows, self._say)
        with ThreadPoolExecutor(self.resources.threads, "prepare") as pool:
            records = self._read(workspace, pool, needed.rows, done)
            fit = self._fit(workspace, pool, records)
            shards = self._encode(workspace, pool, records, fit)
        self._write_rejects(records)
        manifest = self._manifest(records, fit, shards, peak)
        manifest.write(self.out)
        return any(done), manifest, _short_days(self.inputs, manifest)

    def _read(
        self,
        workspace: Workspace,
        pool: ThreadPoolExecutor,
        rows: int,
        done: list[list[UnitRecord]],
    ) -> list[UnitRecord]:
        reused = sum(record.lines for records in done for record in records)
        with self._stage("read", max(rows, reused), done=reused) as bar:
            reader = Reader(
                workspace,
                pool,
                self.options,
                self.resources,
                self.layout,
                max_bad_rows=self.max_bad_rows,
                progress=bar,
            )
            return reader.read(self.inputs, self._splits(workspace), done)

    def _fit(
        self, workspace: Workspace, pool: ThreadPoolExecutor, records: Sequence[UnitRecord]
    ) -> Fit:
        if self.options.fit_from is not None:
            return borrow_fit(workspace, Path(self.options.fit_from))
        rows = sum(record.rows[TRAIN] for record in records)
        if not rows:
            raise InputError(
                "no row is in the training split, so there is nothing to fit: "
                "check the inputs and the split options"
            )
        min_count = self.options.min_count_for(rows)
        if self.options.min_count is None:
            self._say(f"for {rows:,} training rows: --min-count {min_count}")
        entries = {c: sum(record.runs[c] for record in records) for c in FEATURE_COLUMNS}
        reused = sum(entries[c] for c in fitted_columns(workspace))
        with self._stage("fit", sum(entries.values()), done=reused, unit="counts") as bar:
            fitter = Fitter(
                workspace,
                pool,
                self.resources,
                bar,
                min_count=min_count,
                max_vocabulary=self.options.max_vocabulary,
            )
            return fitter.fit(records)

    def _encode(
        self,
        workspace: Workspace,
        pool: ThreadPoolExecutor,
        records: Sequence[UnitRecord],
        fit: Fit,
    ) -> dict[str, list[ShardEntry]]:
        done = encoded_units(workspace, records)
        rows = [sum(record.rows) for record in records]
        with self._stage("encode", sum(rows), done=sum(rows[i] for i in done)) as bar:
            tables = read_tables(self.out / QUANTILES)
            stage = ShardStage(
                workspace,
                pool,
                {c: fitted.table for c, fitted in tables.items()},
                {c: open_lookup(lookup_path(workspace, c)) for c in CATEGORICAL_COLUMNS},
                bar,
            )
            return stage.encode(records, done, self.resources.threads)

    @contextmanager
    def _stage(
        self, name: str, total: int, *, done: int = 0, unit: str = "rows"
    ) -> Iterator[Progress]:
        start, cpu = time.perf_counter(), time.process_time()
        with Progress(name, total, done=done, quiet=self.quiet, unit=unit) as bar:
            yield bar
        seconds = time.perf_counter() - start
        self.stages[name] = {
            "seconds": round(seconds, 3),
            f"{unit}_per_second": round((bar.done - done) / seconds),
            "cores": round((time.process_time() - cpu) / seconds, 2),
        }

    def _say(self, line: str) -> None:
        if not self.quiet:
            sys.stderr.write(line + "\n")

    def _announce(self, needed: Estimate) -> None:
        size = sum(source.path.stat().st_size for source in self.inputs)
        self._say(
            f"{len(self.inputs)} input{'s' if len(self.inputs) > 1 else ''}, {format_size(size)}, "
            f"layout {self.layout.name}: about {needed.rows:,} rows; needs about "
            f"{format_size(needed.bytes)} of disk, {format_size(self.resources.memory_bytes)} of "
            f"memory; {self.resources.threads} workers"
        )

    def _announce_reuse(self, workspace: Workspace, done: list[list[UnitRecord]]) -> None:
        units = [record for records in done for record in records]
        if not units:
            return
        lines = sum(record.lines for record in units)
        parts = [f"{lines:,} lines in {len(units)} work units"]
        if columns := len(fitted_columns(workspace)):
            parts.append(f"{columns} fitted columns")
        if encoded := len(encoded_units(workspace, units)):
            parts.append(f"the shards of {encoded} units")
        again = [
            source.path.name
            for source, records in zip(self.inputs, done, strict=True)
            if source.compressed and records and not records[-1].last
        ]
        parts[-1] += f" are reused; {again[0]} is decompressed again" if again else " are reused"
        self._say("continuing: " + ", ".join(parts))

    def _splits(self, workspace: Workspace) -> list[Split]:
        """The split of each input."""
        options = self.options
        if self.valid_files or self.test_files:
            return [self._file_split(source) for source in self.inputs]
        if options.split == "terabyte":
            return self._terabyte_splits(workspace)
        valid, test = options.fractions
        if options.split == "tail":
            lines = [self._lines(workspace, i) for i in range(len(self.inputs))]
            return list(tail_splits(lines, valid, test))
        if options.fit_from is not None and options.valid is None and options.test is None:
            return [WHOLLY_TEST] * len(self.inputs)
        return [
            HashedSplit(seed=options.seed, name=source.name, valid=valid, test=test)
            for source in self.inputs
        ]

    def _file_split(self, source: RawInput) -> Split:
        if source.identity in self.valid_files:
            return WHOLLY_VALID
        return WHOLLY_TEST if source.identity in self.test_files else WHOLLY_TRAIN

    def _terabyte_splits(self, workspace: Workspace) -> list[Split]:
        days = [source.day for source in self.inputs]
        for source, day in zip(self.inputs, days, strict=True):
            if day is None:
                raise UsageError(
                    f"--split terabyte needs inputs named day_0, day_1, …: {source.path.name} "
                    "is not"
                )
        last = max(range(len(days)), key=lambda i: days[i] or 0)
        splits: list[Split] = [WHOLLY_TRAIN] * len(days)
        splits[last] = last_day_split(self._lines(workspace, last))
        return splits

    def _lines(self, workspace: Workspace, number: int) -> int:
        """Lines of an input, counted once: a split by place must know them beforehand."""
        source = self.inputs[number]
        path = workspace.fit / f"lines-{number:05d}.json"
        state = asdict(InputState.of(source.path))
        counted = json.loads(path.read_text()) if path.exists() else {}
        if counted.get("state") != state:
            about = estimate([source], self.resources.threads).rows
            with Progress(f"count {source.path.name}", about, quiet=self.quiet) as bar:
                lines = count_lines(source, bar.advance)
            if counted and counted["lines"] != lines:
                raise InputError(
                    f"{source.path} changed since its lines were counted ({counted['lines']:,} "
                    f"then, {lines:,} now): bring it back, or start over with --restart"
                )
            counted = {"lines": lines, "state": state}
            write_json(path, counted)
        return int(counted["lines"])

    def _manifest(
        self,
        records: Sequence[UnitRecord],
        fit: Fit,
        shards: dict[str, list[ShardEntry]],
        peak: PeakMemory,
    ) -> Manifest:
        rows = {split: sum(e.rows for e in shards[split]) for split in SPLITS}
        rows["rejected"] = sum(record.rejected for record in records)
        rows["read"] = sum(record.lines for record in records)
        written = sum(rows[key] for key in (*SPLITS, "rejected"))
        assert written == rows["read"], f"{rows['read']} lines read, {written} accounted for"
        content = [e.crc32 for e in fit.files]
        return Manifest(
            package_version=__version__,
            layout=self.layout.name,
            options=self._task(),
            inputs=[self._input_entry(i, records) for i in range(len(self.inputs))],
            rows=rows,
            row_group_rows=ROW_GROUP_ROWS,
            min_count=fit.min_count,
            numeric=fit.numeric,
            categorical=fit.categorical,
            fit_files=fit.files,
            fit_fingerprint=hashlib.sha256("".join(content).encode()).hexdigest()[:16],
            shards=shards,
            times={
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.perf_counter() - self.started, 3),
                "stages": self.stages,
                "peak_memory_bytes": peak.peak_bytes,
            },
        )

    def _input_entry(self, number: int, records: Sequence[UnitRecord]) -> InputEntry:
        source = self.inputs[number]
        units = [record for record in records if record.source == number]
        return InputEntry(
            path=given_path(source.path),
            name=source.name,
            bytes=units[-1].state.bytes,
            mtime_ns=units[-1].state.mtime_ns,
            crc32=f"{units[-1].end.crc32:08x}",
            rows=units[-1].end.lines,
        )

    def _write_rejects(self, records: Sequence[UnitRecord]) -> None:
        rejects = [reject for record in records for reject in record.rejects]
        if rejects:
            lines = [json.dumps(reject, ensure_ascii=False) for reject in rejects[:_KEPT_REJECTS]]
            write_bytes(self.out / "rejected.jsonl", "".join(f"{x}\n" for x in lines).encode())


def _found(patterns: Sequence[str]) -> set[Path]:
    return {source.identity for source in find_inputs(patterns)} if patterns else set()


def _refuse_two_splits(paths: set[Path]) -> None:
    for path in paths:
        raise UsageError(f"{path} is named by both --valid-files and --test-files")


def _done_units(workspace: Workspace, inputs: int) -> list[list[UnitRecord]]:
    """Per input, the finished units from its start on; later ones than a gap are done again."""
    records = workspace.unit_records()
    done: list[list[UnitRecord]] = [[] for _ in range(inputs)]
    for (source, block), record in sorted(records.items()):
        if block == len(done[source]):
            done[source].append(record)
    return done


def _refuse_changed(source: RawInput, entry: InputEntry) -> None:
    """Compare an input's content with what a finished set was made from."""
    end = Position()
    for chunk in read_chunks(source):
        end = chunk.end
    if (f"{end.crc32:08x}", end.lines) != (entry.crc32, entry.rows):
        raise InputError(
            f"{source.path} changed since the data set was made from it: "
            "choose another --out, or start over with --restart"
        )


def _short_days(inputs: Sequence[RawInput], manifest: Manifest) -> list[str]:
    """Days of the 1TB logs that hold fewer lines than Criteo published."""
    return [
        f"{source.path} has {entry.rows:,} lines, the complete day has {source.published_rows:,}: "
        "the download may be cut short"
        for source, entry in zip(inputs, manifest.inputs, strict=True)
        if source.published_rows and entry.rows < source.published_rows
    ]
