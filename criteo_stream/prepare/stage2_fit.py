"""Stage 2, fit: the runs of all blocks are merged into vocabularies and quantile tables."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.progress import Progress
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.base.storage import file_crc32, make_folder, write_json
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import (
    CategoricalColumn,
    FileEntry,
    Manifest,
    NumericColumn,
    verify_file,
)
from criteo_stream.prepare.counts import Int64Array, SpilledRun, UInt32Array, merge_in_parts
from criteo_stream.prepare.quantiles import FittedColumn, build_table, read_tables, write_tables
from criteo_stream.prepare.scratch import spilled_runs, verify_runs
from criteo_stream.prepare.splits import TRAIN
from criteo_stream.prepare.stage_context import StageContext
from criteo_stream.prepare.vocabulary import build_vocabulary, write_lookup
from criteo_stream.prepare.workspace import BlockRecord, Workspace


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result of the fit on the training split, with its files."""

    min_count: int
    """Values rarer than this have no id of their own."""
    numeric: list[NumericColumn]
    categorical: list[CategoricalColumn]
    files: list[FileEntry]


def fitted_columns(workspace: Workspace) -> set[str]:
    """Columns whose fit an earlier try finished."""
    return {c for c in FEATURE_COLUMNS if workspace.column_facts(c).exists()}


class Fitter:
    """Merges the blocks' runs, column by column; finished columns are kept for the next try.

    Args:
        context: where the blocks are, and who does the work.
        min_count: values rarer than this in the training rows get no id of their own.
        max_vocabulary: keep at most this many known values per column, the most frequent.
        progress: is told of run entries as they are merged.
    """

    def __init__(
        self,
        context: StageContext,
        *,
        min_count: int,
        max_vocabulary: int | None,
        progress: Progress,
    ) -> None:
        self._workspace = context.workspace
        self._pool = context.pool
        self._progress = progress
        self._max_entries = context.budget.merge_entries
        self._min_count = min_count
        self._max_vocabulary = max_vocabulary

    def fit(self, records: Sequence[BlockRecord]) -> Fit:
        """Merge all columns and write the fit's files into the data set."""
        make_folder(self._workspace.data.vocabularies)
        left = set(FEATURE_COLUMNS) - fitted_columns(self._workspace)
        if left:
            for _ in self._pool.map(lambda r: verify_runs(self._workspace.blocks, r), records):
                pass
        # The columns with most entries first, so that no thread is left alone with a long one.
        by_size = sorted(left, key=lambda c: (-sum(r.runs[c] for r in records), c))
        for _ in self._pool.map(lambda c: self._fit_column(c, records), by_size):
            pass
        return self._collect()

    def _fit_column(self, column: str, records: Sequence[BlockRecord]) -> None:
        runs = spilled_runs(self._workspace.blocks, records, column)
        missing = sum(r.missing[column] for r in records)
        if column in INTEGER_COLUMNS:
            rows = sum(r.rows[TRAIN] for r in records) - missing
            total = sum(r.sums[column] for r in records)
            self._fit_numeric(column, runs, missing=missing, rows=rows, total=total)
        else:
            self._fit_categorical(column, runs, missing=missing)
        self._progress.advance(sum(r.runs[column] for r in records))

    def _fit_numeric(
        self, column: str, runs: Sequence[SpilledRun], *, missing: int, rows: int, total: int
    ) -> None:
        distinct = 0

        def counted() -> Iterator[tuple[UInt32Array, Int64Array]]:
            nonlocal distinct
            for values, counts in merge_in_parts(runs, self._max_entries):
                distinct += len(values)
                yield values, counts

        table = build_table(counted(), rows)
        mean = total / rows if rows else None
        write_tables(
            self._workspace.quantile_table(column),
            {column: FittedColumn(table=table, mean=mean, missing=missing)},
        )
        mean_quantile = 0.5 if mean is None else float(table.transform(np.array([mean]))[0])
        facts = NumericColumn(
            column=column,
            missing=missing,
            distinct=distinct,
            minimum=int(table.values[0]) if rows else None,
            maximum=int(table.values[-1]) if rows else None,
            mean=mean,
            mean_quantile=mean_quantile,
            rank_error=table.rank_error,
        )
        write_json(self._workspace.column_facts(column), asdict(facts))

    def _fit_categorical(self, column: str, runs: Sequence[SpilledRun], *, missing: int) -> None:
        built = build_vocabulary(
            merge_in_parts(runs, self._max_entries),
            self._workspace.data.vocabulary(column),
            self._workspace.lookup(column),
            min_count=self._min_count,
            max_vocabulary=self._max_vocabulary,
        )
        facts = CategoricalColumn(
            column=column,
            missing=missing,
            distinct=built.distinct,
            oov=built.oov_rows,
            ids=FIRST_KNOWN_ID + built.known,
        )
        write_json(self._workspace.column_facts(column), asdict(facts))

    def _collect(self) -> Fit:
        workspace = self._workspace
        fitted = [read_tables(workspace.quantile_table(c)) for c in INTEGER_COLUMNS]
        write_tables(workspace.data.quantiles, {c: f for one in fitted for c, f in one.items()})
        facts = {c: json.loads(workspace.column_facts(c).read_text()) for c in FEATURE_COLUMNS}
        return Fit(
            min_count=self._min_count,
            numeric=[NumericColumn(**facts[c]) for c in INTEGER_COLUMNS],
            categorical=[CategoricalColumn(**facts[c]) for c in CATEGORICAL_COLUMNS],
            files=_fit_files(workspace.data),
        )


def borrow_fit(workspace: Workspace, source: Path) -> Fit:
    """Take the fit of another prepared set instead of making one.

    Raises:
        DataSetError: the other set is incomplete or its fit is damaged.
    """
    manifest = Manifest.read(source)
    data = workspace.data
    make_folder(data.vocabularies)
    for entry in manifest.fit_files:
        verify_file(source, entry)
        shutil.copyfile(source / entry.path, data.path / entry.path)
    for column in CATEGORICAL_COLUMNS:
        write_lookup(data.vocabulary(column), workspace.lookup(column))
    files = _fit_files(data)
    if files != manifest.fit_files:
        raise DataSetError(f"{source} changed while its fit was copied: run the same again")
    return Fit(
        min_count=manifest.min_count,
        numeric=manifest.numeric,
        categorical=manifest.categorical,
        files=files,
    )


def _fit_files(data: DataFolder) -> list[FileEntry]:
    paths = [*(data.vocabulary(c) for c in CATEGORICAL_COLUMNS), data.quantiles]
    return [
        FileEntry(
            path=str(path.relative_to(data.path)), bytes=path.stat().st_size, crc32=file_crc32(path)
        )
        for path in paths
    ]
