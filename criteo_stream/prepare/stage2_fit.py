"""Stage 2, fit: the runs of all work units are merged into vocabularies and quantile tables."""

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.progress import Progress
from criteo_stream.base.schema import (
    CATEGORICAL_COLUMNS,
    FEATURE_COLUMNS,
    FIRST_KNOWN_ID,
    INTEGER_COLUMNS,
)
from criteo_stream.base.storage import file_crc32, write_json
from criteo_stream.data.manifest import (
    CategoricalColumn,
    FileEntry,
    Manifest,
    NumericColumn,
    verify_file,
)
from criteo_stream.prepare.apply_fit import Encoder
from criteo_stream.prepare.counts import (
    MERGE_BYTES_PER_ENTRY,
    Int64Array,
    SpilledRun,
    UInt32Array,
    merge_in_parts,
)
from criteo_stream.prepare.lookup import HashedLookup
from criteo_stream.prepare.options import Resources
from criteo_stream.prepare.quantiles import (
    FastTransform,
    FittedColumn,
    build_table,
    read_tables,
    write_tables,
)
from criteo_stream.prepare.splits import TRAIN
from criteo_stream.prepare.units import spilled_runs, verify_runs
from criteo_stream.prepare.vocabulary import build_vocabulary, read_vocabulary, write_lookup
from criteo_stream.prepare.workspace import UnitRecord, Workspace

QUANTILES: Final = "quantiles.parquet"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was learned from the training split, with its files."""

    min_count: int
    """Values rarer than this have no id of their own."""
    numeric: list[NumericColumn]
    categorical: list[CategoricalColumn]
    files: list[FileEntry]


def vocabulary_path(out: Path, column: str) -> Path:
    """Where a column's vocabulary is."""
    return out / "vocabulary" / f"{column}.parquet"


def fitted_columns(workspace: Workspace) -> set[str]:
    """Columns whose fit an earlier try finished."""
    return {c for c in FEATURE_COLUMNS if _record(workspace, c).exists()}


def _record(workspace: Workspace, column: str) -> Path:
    return workspace.fit / f"{column}.json"


class Fitter:
    """Merges the units' runs, column by column; finished columns are kept for the next try."""

    def __init__(
        self,
        workspace: Workspace,
        pool: Executor,
        resources: Resources,
        progress: Progress,
        *,
        min_count: int,
        max_vocabulary: int | None,
    ) -> None:
        self._workspace = workspace
        self._pool = pool
        self._min_count = min_count
        self._max_vocabulary = max_vocabulary
        self._max_entries = resources.working_bytes // resources.threads // MERGE_BYTES_PER_ENTRY
        self._progress = progress

    def fit(self, records: Sequence[UnitRecord]) -> Fit:
        """Merge all columns and write the fit's files into the data set."""
        (self._workspace.out / "vocabulary").mkdir(exist_ok=True)
        left = set(FEATURE_COLUMNS) - fitted_columns(self._workspace)
        if left:
            for _ in self._pool.map(lambda r: verify_runs(self._workspace.units, r), records):
                pass
        # The columns with most entries first, so that no thread is left alone with a long one.
        by_size = sorted(left, key=lambda c: (-sum(r.runs[c] for r in records), c))
        for _ in self._pool.map(lambda c: self._fit_column(c, records), by_size):
            pass
        return self._collect()

    def _table(self, column: str) -> Path:
        return self._workspace.fit / f"{column}.parquet"

    def _fit_column(self, column: str, records: Sequence[UnitRecord]) -> None:
        runs = spilled_runs(self._workspace.units, records, column)
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
            self._table(column), {column: FittedColumn(table=table, mean=mean, missing=missing)}
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
        write_json(_record(self._workspace, column), asdict(facts))

    def _fit_categorical(self, column: str, runs: Sequence[SpilledRun], *, missing: int) -> None:
        built = build_vocabulary(
            merge_in_parts(runs, self._max_entries),
            vocabulary_path(self._workspace.out, column),
            lookup_path(self._workspace, column),
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
        write_json(_record(self._workspace, column), asdict(facts))

    def _collect(self) -> Fit:
        out = self._workspace.out
        fitted = [read_tables(self._table(c)) for c in INTEGER_COLUMNS]
        write_tables(out / QUANTILES, {c: f for one in fitted for c, f in one.items()})
        facts = {c: json.loads(_record(self._workspace, c).read_text()) for c in FEATURE_COLUMNS}
        return Fit(
            min_count=self._min_count,
            numeric=[NumericColumn(**facts[c]) for c in INTEGER_COLUMNS],
            categorical=[CategoricalColumn(**facts[c]) for c in CATEGORICAL_COLUMNS],
            files=_fit_files(out),
        )


def lookup_path(workspace: Workspace, column: str) -> Path:
    """Where a column's values and ids are kept for encoding."""
    return workspace.fit / f"{column}.lookup"


def borrow_fit(workspace: Workspace, source: Path) -> Fit:
    """Take the fit of another prepared set instead of making one.

    Raises:
        DataSetError: the other set is incomplete or its fit is damaged.
    """
    manifest = Manifest.read(source)
    out = workspace.out
    (out / "vocabulary").mkdir(exist_ok=True)
    for entry in manifest.fit_files:
        verify_file(source, entry)
        shutil.copyfile(source / entry.path, out / entry.path)
    for column in CATEGORICAL_COLUMNS:
        write_lookup(vocabulary_path(out, column), lookup_path(workspace, column))
    files = _fit_files(out)
    if files != manifest.fit_files:
        raise DataSetError(f"{source} changed while its fit was copied: run the same again")
    return Fit(
        min_count=manifest.min_count,
        numeric=manifest.numeric,
        categorical=manifest.categorical,
        files=files,
    )


def _fit_files(out: Path) -> list[FileEntry]:
    paths = [*(vocabulary_path(out, c) for c in CATEGORICAL_COLUMNS), out / QUANTILES]
    return [
        FileEntry(
            path=str(path.relative_to(out)), bytes=path.stat().st_size, crc32=file_crc32(path)
        )
        for path in paths
    ]


def load_encoder(data: Path, manifest: Manifest) -> Encoder:
    """The fit of a finished data set, in memory, to encode raw rows with.

    Raises:
        DataSetError: a vocabulary or the quantile tables are missing or damaged.
    """
    for entry in manifest.fit_files:
        verify_file(data, entry)
    tables = read_tables(data / QUANTILES)
    return Encoder(
        transforms={column: FastTransform(tables[column].table) for column in INTEGER_COLUMNS},
        lookups={
            c: HashedLookup(*read_vocabulary(vocabulary_path(data, c))) for c in CATEGORICAL_COLUMNS
        },
    )
