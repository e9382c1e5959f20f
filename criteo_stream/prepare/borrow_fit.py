"""The fit of another prepared set in place of stage 2."""

from collections.abc import Collection, Mapping
from pathlib import Path

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.records import write_record
from criteo_stream.base.schema import INTEGER_COLUMNS
from criteo_stream.base.storage import make_folder
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import FileEntry, Manifest
from criteo_stream.prepare.collect_fit import Fit, encode_with
from criteo_stream.prepare.fit_records import FittedRecord, fitted_columns, verify_fitted
from criteo_stream.prepare.quantiles import write_table
from criteo_stream.prepare.read_fit import copy_fit_file, read_fit_tables
from criteo_stream.prepare.read_vocabulary import write_lookup
from criteo_stream.prepare.work_records import FittedCategorical, FittedNumeric, Written
from criteo_stream.prepare.workspace import Workspace


def borrow_fit(workspace: Workspace, source: Path) -> Fit:
    """Take the fit of another prepared set instead of making one.

    Raises:
        DataSetError: the other set is incomplete, or its fit is damaged or changes meanwhile.
        OutputError: what an earlier try took of it is damaged.
    """
    manifest = Manifest.read(source)
    data = workspace.data
    make_folder(data.vocabularies)
    done = fitted_columns(workspace, manifest.fit_fingerprint)
    for column, record in done.items():
        verify_fitted(workspace, column, record)
    entries = {entry.path: entry for entry in manifest.fit_files}
    _copy(source, data, data.quantiles, entries)
    fitted = dict(done)
    if not set(INTEGER_COLUMNS) <= set(done):
        fitted |= _take_tables(workspace, manifest)
    for categorical in manifest.categorical:
        column = categorical.column
        if column in done:
            continue
        vocabulary, lookup = data.vocabulary(column), workspace.lookup(column)
        copied = _copy(source, data, vocabulary, entries)
        extended = manifest.extension is not None
        write_lookup(vocabulary, lookup, categorical.ids, is_extended=extended)
        fitted[column] = FittedCategorical(
            made_from=manifest.fit_fingerprint,
            distinct=categorical.distinct,
            oov=categorical.oov,
            digest=manifest.fit_digests.get(column, manifest.fit_fingerprint),
            vocabulary=copied,
            lookup=Written.of(lookup),
            counts=None,
            new_oov_before=0,
            new_oov=0,
        )
        write_record(workspace.fitted(column), fitted[column])
    return Fit(
        min_count=manifest.min_count,
        numeric=manifest.numeric,
        categorical=manifest.categorical,
        files=manifest.fit_files,
        digests=manifest.fit_digests,
        fingerprint=manifest.fit_fingerprint,
        extension=manifest.extension,
        encode_with=encode_with(fitted),
    )


def _copy(source: Path, data: DataFolder, path: Path, entries: Mapping[str, FileEntry]) -> Written:
    """Copy a file of the fit, and compare it with what the other manifest says of it."""
    name = str(path.relative_to(data.path))
    if name not in entries:
        raise DataSetError(f"{DataFolder(source).manifest} lists no {name}: prepare the set again")
    entry = entries[name]
    copy_fit_file(source, entry, path)
    return Written(bytes=entry.bytes, crc32=entry.crc32)


def take_tables(
    workspace: Workspace, data: Path, manifest: Manifest, without: Collection[str] = ()
) -> None:
    """Write a set's quantile tables, but for some columns, into the working folder.

    Raises:
        DataSetError: they are not what a fit writes.
    """
    for column, fitted in read_fit_tables(data, manifest).items():
        if column not in without:
            write_table(workspace.table(column), fitted.table)


def _take_tables(workspace: Workspace, manifest: Manifest) -> dict[str, FittedRecord]:
    take_tables(workspace, workspace.data.path, manifest)
    taken: dict[str, FittedRecord] = {}
    for numeric in manifest.numeric:
        taken[numeric.column] = FittedNumeric(
            made_from=manifest.fit_fingerprint,
            distinct=numeric.distinct,
            table=Written.of(workspace.table(numeric.column)),
            outside=0,
            shifted=0.0,
        )
        write_record(workspace.fitted(numeric.column), taken[numeric.column])
    return taken
