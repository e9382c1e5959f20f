"""The fit of a set, put together from what was learned of its columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from criteo_stream.base.errors import OutputError
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.extension import Extension
from criteo_stream.data.fit_fingerprint import fingerprint_of_fit, quantiles_digest
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import CategoricalColumn, FileEntry, Manifest, NumericColumn
from criteo_stream.prepare.extend_fit import extension_of
from criteo_stream.prepare.fit_records import FittedRecord, fingerprint_of, fitted_columns
from criteo_stream.prepare.quantiles import FittedColumn, QuantileTable, open_table, write_tables
from criteo_stream.prepare.read_fit import copy_fit_file
from criteo_stream.prepare.splits import TRAIN
from criteo_stream.prepare.work_records import (
    RESTART,
    BlockRecord,
    FittedCategorical,
    FittedNumeric,
    Written,
    identity_of,
)
from criteo_stream.prepare.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result of the fit on the training split, with its files."""

    min_count: int
    """Values rarer than this have no id of their own."""
    numeric: list[NumericColumn]
    categorical: list[CategoricalColumn]
    files: list[FileEntry]
    digests: dict[str, str]
    """Per column, see `fit_fingerprint`; none of an older fit that is borrowed."""
    fingerprint: str
    counts: list[FileEntry] = field(default_factory=list)
    """Of the values without an id, where they are kept."""
    extension: Extension | None = None
    """Where it extends another fit."""
    encode_with: dict[str, Written]
    """Per column, its table or lookup in the working folder."""

    @property
    def tables_and_lookups(self) -> str:
        """Identity of what rows are encoded with."""
        return identity_of(self.encode_with)


def collect_fit(
    workspace: Workspace,
    records: Sequence[BlockRecord],
    min_count: int,
    extends: str | None = None,
) -> Fit:
    """Put together what was learned of all columns, and write the quantile tables.

    Raises:
        OutputError: a column is not fitted.
    """
    data = workspace.data
    fitted = fitted_columns(workspace, fingerprint_of(records, extends))
    before = Manifest.read(workspace.before.path) if extends else None
    for column in FEATURE_COLUMNS:
        if column not in fitted:
            raise OutputError(f"{workspace.fitted(column)} is of other blocks: {RESTART}")
    missing = {c: sum(r.missing[c] for r in records) for c in FEATURE_COLUMNS}
    quantiles: dict[str, FittedColumn] = {}
    digests: dict[str, str] = {}
    numeric: list[NumericColumn] = []
    categorical: list[CategoricalColumn] = []
    for column in FEATURE_COLUMNS:
        record = fitted[column]
        if isinstance(record, FittedNumeric):
            table = open_table(workspace.table(column))
            if before is not None:
                known = before.numeric[INTEGER_COLUMNS.index(column)]
                digests[column] = quantiles_digest(table.arrays, known.missing, known.mean)
                continue
            total = sum(r.sums[column] for r in records)
            mean = total / table.rows if table.rows else None
            found = FittedColumn(table=table, mean=mean, missing=missing[column])
            quantiles[column] = found
            digests[column] = quantiles_digest(table.arrays, found.missing, mean)
            numeric.append(_numeric_column(column, found, record.distinct))
        else:
            digests[column] = record.digest
            number = CATEGORICAL_COLUMNS.index(column)
            categorical.append(
                CategoricalColumn(
                    column=column,
                    missing=missing[column] + (before.categorical[number].missing if before else 0),
                    distinct=record.distinct,
                    oov=record.oov,
                    ids=FIRST_KNOWN_ID + record.known,
                )
            )
    extension = None
    if before is not None:
        numeric = before.numeric
        name = str(data.quantiles.relative_to(data.path))
        (entry,) = (entry for entry in before.fit_files if entry.path == name)
        copy_fit_file(workspace.before.path, entry, data.quantiles)
        rows = sum(record.rows[TRAIN] for record in records)
        extension = extension_of(before, fitted, rows, missing)
    else:
        write_tables(data.quantiles, quantiles)
    return Fit(
        min_count=min_count,
        numeric=numeric,
        categorical=categorical,
        files=fit_files(data, fitted),
        digests=digests,
        fingerprint=fingerprint_of_fit(min_count, digests),
        counts=_count_files(data, fitted),
        extension=extension,
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
    return [_entry(data, path, file) for path, file in written.items()]


def _count_files(data: DataFolder, fitted: dict[str, FittedRecord]) -> list[FileEntry]:
    """The manifest's entries of the counts that are kept."""
    return [
        _entry(data, data.counts(column), record.counts)
        for column in CATEGORICAL_COLUMNS
        if isinstance(record := fitted[column], FittedCategorical) and record.counts
    ]


def _entry(data: DataFolder, path: Path, file: Written) -> FileEntry:
    return FileEntry(path=str(path.relative_to(data.path)), bytes=file.bytes, crc32=file.crc32)


def encode_with(fitted: dict[str, FittedRecord]) -> dict[str, Written]:
    """Per column, the file that its rows are encoded with."""
    return {
        column: record.table if isinstance(record, FittedNumeric) else record.lookup
        for column, record in fitted.items()
    }
