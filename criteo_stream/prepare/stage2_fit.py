"""Stage 2, fit: the runs of all blocks are merged into vocabularies and quantile tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from criteo_stream.base.errors import OutputError
from criteo_stream.base.progress import Progress
from criteo_stream.base.records import checksum_of, write_record
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.base.storage import make_folder
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import CategoricalColumn, FileEntry, NumericColumn
from criteo_stream.prepare.counts import Int64Array, SpilledRun, UInt32Array, merge_in_parts
from criteo_stream.prepare.quantiles import (
    FittedColumn,
    QuantileTable,
    build_table,
    open_table,
    write_table,
    write_tables,
)
from criteo_stream.prepare.scratch import spilled_runs, verify_runs
from criteo_stream.prepare.splits import TRAIN
from criteo_stream.prepare.stage_context import StageContext
from criteo_stream.prepare.vocabulary import build_vocabulary
from criteo_stream.prepare.work_records import (
    RESTART,
    BlockRecord,
    FittedCategorical,
    FittedNumeric,
    Written,
    verify,
)
from criteo_stream.prepare.workspace import Workspace

FittedRecord = FittedNumeric | FittedCategorical


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result of the fit on the training split, with its files."""

    min_count: int
    """Values rarer than this have no id of their own."""
    numeric: list[NumericColumn]
    categorical: list[CategoricalColumn]
    files: list[FileEntry]
    tables_and_lookups: str
    """Fingerprint of the files that rows are encoded with."""


def fitted_columns(workspace: Workspace, made_from: str) -> dict[str, FittedRecord]:
    """The records of columns whose fit an earlier try finished, with what they were made from.

    Raises:
        OutputError: a record is damaged.
    """
    done: dict[str, FittedRecord] = {}
    for column in FEATURE_COLUMNS:
        path = workspace.fitted(column)
        found: FittedRecord | None
        if column in INTEGER_COLUMNS:
            found = workspace.find(path, FittedNumeric)
        else:
            found = workspace.find(path, FittedCategorical)
        if found is not None and found.made_from == made_from:
            done[column] = found
    return done


def verify_fitted(workspace: Workspace, column: str, record: FittedRecord) -> None:
    """Compare a fitted column's files with its record.

    Raises:
        OutputError: a file is missing or damaged.
    """
    if isinstance(record, FittedNumeric):
        verify(workspace.table(column), record.table)
    else:
        verify(workspace.data.vocabulary(column), record.vocabulary)
        verify(workspace.lookup(column), record.lookup)


def fingerprint_of(records: Sequence[BlockRecord]) -> str:
    """Identity of the blocks that a fit is made from."""
    return checksum_of({"blocks": [record.fingerprint for record in records]})


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

    def fit(self, records: Sequence[BlockRecord], done: dict[str, FittedRecord]) -> Fit:
        """Merge the columns that are not `done`, and write the fit's files into the data set.

        Raises:
            OutputError: a file or record that an earlier try left is missing or damaged.
        """
        workspace = self._workspace
        make_folder(workspace.data.vocabularies)
        for _ in self._pool.map(lambda c: verify_fitted(workspace, c, done[c]), done):
            pass
        left = set(FEATURE_COLUMNS) - set(done)
        if left:
            self._refuse_after_encoding(min(left), len(records))
            for _ in self._pool.map(lambda r: verify_runs(workspace.blocks, r), records):
                pass
        # The columns with most entries first, so that no thread is left alone with a long one.
        by_size = sorted(left, key=lambda c: (-sum(r.runs[c] for r in records), c))
        made_from = fingerprint_of(records)
        new = self._pool.map(lambda c: self._fit_column(c, records, made_from), by_size)
        fitted = done | dict(zip(by_size, new, strict=True))
        return self._collect(records, fitted)

    def _refuse_after_encoding(self, column: str, blocks: int) -> None:
        """Refuse to fit where encoding has begun, which frees what the fit needs."""
        encoded = [self._workspace.shards(number) for number in range(blocks)]
        if any(path.exists() for path in encoded):
            raise OutputError(
                f"{self._workspace.fitted(column)} is missing or of other blocks, though shards "
                f"were made with it: restore it, or {RESTART}"
            )

    def _fit_column(
        self, column: str, records: Sequence[BlockRecord], made_from: str
    ) -> FittedRecord:
        runs = spilled_runs(self._workspace.blocks, records, column)
        record: FittedRecord
        if column in INTEGER_COLUMNS:
            rows = sum(r.rows[TRAIN] - r.missing[column] for r in records)
            record = self._fit_numeric(column, runs, rows=rows, made_from=made_from)
        else:
            record = self._fit_categorical(column, runs, made_from=made_from)
        write_record(self._workspace.fitted(column), record)
        self._progress.advance(sum(r.runs[column] for r in records))
        return record

    def _fit_numeric(
        self, column: str, runs: Sequence[SpilledRun], *, rows: int, made_from: str
    ) -> FittedNumeric:
        distinct = 0

        def counted() -> Iterator[tuple[UInt32Array, Int64Array]]:
            nonlocal distinct
            for values, counts in merge_in_parts(runs, self._max_entries):
                distinct += len(values)
                yield values, counts

        path = self._workspace.table(column)
        write_table(path, build_table(counted(), rows))
        return FittedNumeric(made_from=made_from, distinct=distinct, table=Written.of(path))

    def _fit_categorical(
        self, column: str, runs: Sequence[SpilledRun], *, made_from: str
    ) -> FittedCategorical:
        vocabulary = self._workspace.data.vocabulary(column)
        lookup = self._workspace.lookup(column)
        built = build_vocabulary(
            merge_in_parts(runs, self._max_entries),
            vocabulary,
            lookup,
            min_count=self._min_count,
            max_vocabulary=self._max_vocabulary,
        )
        return FittedCategorical(
            made_from=made_from,
            distinct=built.distinct,
            oov=built.oov_rows,
            vocabulary=Written.of(vocabulary),
            lookup=Written.of(lookup),
        )

    def _collect(self, records: Sequence[BlockRecord], fitted: dict[str, FittedRecord]) -> Fit:
        data = self._workspace.data
        missing = {c: sum(r.missing[c] for r in records) for c in FEATURE_COLUMNS}
        quantiles: dict[str, FittedColumn] = {}
        numeric: list[NumericColumn] = []
        categorical: list[CategoricalColumn] = []
        for column in FEATURE_COLUMNS:
            record = fitted[column]
            if isinstance(record, FittedNumeric):
                table = open_table(self._workspace.table(column))
                total = sum(r.sums[column] for r in records)
                mean = total / table.rows if table.rows else None
                found = FittedColumn(table=table, mean=mean, missing=missing[column])
                quantiles[column] = found
                numeric.append(_numeric_column(column, found, record.distinct))
            else:
                categorical.append(
                    CategoricalColumn(
                        column=column,
                        missing=missing[column],
                        distinct=record.distinct,
                        oov=record.oov,
                        ids=FIRST_KNOWN_ID + record.known,
                    )
                )
        write_tables(data.quantiles, quantiles)
        return Fit(
            min_count=self._min_count,
            numeric=numeric,
            categorical=categorical,
            files=fit_files(data, fitted),
            tables_and_lookups=tables_and_lookups(fitted),
        )


def _numeric_column(column: str, fitted: FittedColumn, distinct: int) -> NumericColumn:
    table, mean = fitted.table, fitted.mean
    mean_quantile = 0.5 if mean is None else float(table.transform(np.array([mean]))[0])
    return NumericColumn(
        column=column,
        missing=fitted.missing,
        distinct=distinct,
        minimum=_end(table, 0),
        maximum=_end(table, -1),
        mean=mean,
        mean_quantile=mean_quantile,
        rank_error=table.rank_error,
    )


def _end(table: QuantileTable, place: int) -> int | None:
    return int(table.values[place]) if len(table.values) else None


def fit_files(data: DataFolder, fitted: dict[str, FittedRecord]) -> list[FileEntry]:
    """The manifest's entries of a fit's files: vocabularies, and the quantiles just written."""
    written = {
        data.vocabulary(column): record.vocabulary
        for column in CATEGORICAL_COLUMNS
        if isinstance(record := fitted[column], FittedCategorical)
    }
    written[data.quantiles] = Written.of(data.quantiles)
    return [
        FileEntry(path=str(path.relative_to(data.path)), bytes=file.bytes, crc32=file.crc32)
        for path, file in written.items()
    ]


def tables_and_lookups(fitted: dict[str, FittedRecord]) -> str:
    """Identity of what rows are encoded with."""
    return checksum_of(
        {
            column: (record.table if isinstance(record, FittedNumeric) else record.lookup).crc32
            for column, record in fitted.items()
        }
    )
