"""Stage 2, fit: the runs of all blocks are merged into vocabularies and quantile tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from criteo_stream.base.errors import OutputError
from criteo_stream.base.records import checksum_of, write_record
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import CategoricalColumn, FileEntry, NumericColumn
from criteo_stream.prepare.counts import Int64Array, SpilledRun, UInt32Array, merge_in_parts
from criteo_stream.prepare.host import Host
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
from criteo_stream.prepare.stage_plan import FitPlan, check_wanted
from criteo_stream.prepare.vocabulary import build_vocabulary
from criteo_stream.prepare.work_records import (
    RESTART,
    BlockRecord,
    FittedCategorical,
    FittedNumeric,
    Written,
    identity_of,
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
    encode_with: dict[str, Written]
    """Per column, its table or lookup in the working folder."""

    @property
    def tables_and_lookups(self) -> str:
        """Identity of what rows are encoded with."""
        return identity_of(self.encode_with)


def fitted_columns(
    workspace: Workspace, made_from: str, columns: Sequence[str] = FEATURE_COLUMNS
) -> dict[str, FittedRecord]:
    """The records of those columns whose fit is finished and was made from this.

    Raises:
        OutputError: a record is damaged.
    """
    done: dict[str, FittedRecord] = {}
    for column in columns:
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


def refuse_after_encoding(workspace: Workspace, column: str, blocks: int) -> None:
    """Refuse to fit where encoding has begun, which frees what the fit needs.

    Raises:
        OutputError: it has: the fit of this column was lost.
    """
    if any(workspace.shards(number).exists() for number in range(blocks)):
        raise OutputError(
            f"{workspace.fitted(column)} is missing or of other blocks, though shards "
            f"were made with it: restore it, or {RESTART}"
        )


class FitWork:
    """Merges the blocks' runs, column by column.

    Args:
        path: of the plan.
        plan: the blocks, and what becomes of their counts.
        host: gives the memory that a merge may take.
    """

    plan_of = FitPlan

    def __init__(self, path: Path, plan: FitPlan, host: Host) -> None:
        self.plan = plan
        self._path = path
        self._workspace = plan.workspace
        self._host = host
        self._made_from = fingerprint_of(plan.blocks)

    def close(self) -> None:
        """Nothing is held."""

    def verify(self, number: int) -> None:
        """Compare a block's runs with what was written, before merges rely on them.

        Raises:
            OutputError: one is missing or damaged.
        """
        with self._host.slot("fit", self._host.budget.threads):
            check_wanted(self._path)
            verify_runs(self._workspace.blocks, self.plan.blocks[number])

    def fit(self, number: int) -> None:
        """Fit a column: merge its counts, write what they make, and its record.

        Raises:
            OutputError: a block's scratch is missing or damaged, or the disk is full.
            StoppedError: nobody wants it any more.
        """
        column = FEATURE_COLUMNS[number]
        with self._host.slot("fit", self._host.budget.threads):
            check_wanted(self._path)
            if column in fitted_columns(self._workspace, self._made_from, [column]):
                return
            runs = spilled_runs(self._workspace.blocks, self.plan.blocks, column)
            record: FittedRecord
            if column in INTEGER_COLUMNS:
                rows = sum(r.rows[TRAIN] - r.missing[column] for r in self.plan.blocks)
                record = self._fit_numeric(column, runs, rows=rows)
            else:
                record = self._fit_categorical(column, runs)
            check_wanted(self._path)
            write_record(self._workspace.fitted(column), record, unique=True)

    def _merged(self, runs: Sequence[SpilledRun]) -> Iterator[tuple[UInt32Array, Int64Array]]:
        for part in merge_in_parts(runs, self._host.budget.merge_entries):
            check_wanted(self._path)
            yield part

    def _fit_numeric(self, column: str, runs: Sequence[SpilledRun], *, rows: int) -> FittedNumeric:
        distinct = 0

        def counted() -> Iterator[tuple[UInt32Array, Int64Array]]:
            nonlocal distinct
            for values, counts in self._merged(runs):
                distinct += len(values)
                yield values, counts

        path = self._workspace.table(column)
        write_table(path, build_table(counted(), rows))
        return FittedNumeric(made_from=self._made_from, distinct=distinct, table=Written.of(path))

    def _fit_categorical(self, column: str, runs: Sequence[SpilledRun]) -> FittedCategorical:
        vocabulary = self._workspace.data.vocabulary(column)
        lookup = self._workspace.lookup(column)
        built = build_vocabulary(
            self._merged(runs),
            vocabulary,
            lookup,
            min_count=self.plan.min_count,
            max_vocabulary=self.plan.max_vocabulary,
        )
        return FittedCategorical(
            made_from=self._made_from,
            distinct=built.distinct,
            oov=built.oov_rows,
            vocabulary=Written.of(vocabulary),
            lookup=Written.of(lookup),
        )


def collect_fit(workspace: Workspace, records: Sequence[BlockRecord], min_count: int) -> Fit:
    """Put together what was learned of all columns, and write the quantile tables.

    Raises:
        OutputError: a column is not fitted.
    """
    data = workspace.data
    fitted = fitted_columns(workspace, fingerprint_of(records))
    for column in FEATURE_COLUMNS:
        if column not in fitted:
            raise OutputError(f"{workspace.fitted(column)} is of other blocks: {RESTART}")
    missing = {c: sum(r.missing[c] for r in records) for c in FEATURE_COLUMNS}
    quantiles: dict[str, FittedColumn] = {}
    numeric: list[NumericColumn] = []
    categorical: list[CategoricalColumn] = []
    for column in FEATURE_COLUMNS:
        record = fitted[column]
        if isinstance(record, FittedNumeric):
            table = open_table(workspace.table(column))
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
        min_count=min_count,
        numeric=numeric,
        categorical=categorical,
        files=fit_files(data, fitted),
        encode_with=encode_with(fitted),
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


def encode_with(fitted: dict[str, FittedRecord]) -> dict[str, Written]:
    """Per column, the file that its rows are encoded with."""
    return {
        column: record.table if isinstance(record, FittedNumeric) else record.lookup
        for column, record in fitted.items()
    }
