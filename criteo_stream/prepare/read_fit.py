"""The fit of a finished set, read back: its files against their checksums and the manifest."""

import shutil
from pathlib import Path

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS
from criteo_stream.base.storage import atomic_path, difference
from criteo_stream.data.fit_fingerprint import quantiles_digest
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import FileEntry, Manifest, verify_file
from criteo_stream.prepare.counts import UInt32Array
from criteo_stream.prepare.quantiles import FittedColumn, read_tables
from criteo_stream.prepare.read_vocabulary import read_vocabulary, vocabulary_digest
from criteo_stream.prepare.value_ids import Int32Array


def verify_fit(data: Path, manifest: Manifest) -> None:
    """Compare the files of a set's fit with the manifest.

    Raises:
        DataSetError: one is missing or damaged, or the set was made without any.
    """
    if not manifest.fit_files:
        raise DataSetError(f"{data} holds no vocabularies and quantiles: prepare the set again")
    for entry in manifest.fit_files:
        verify_file(data, entry)


def copy_fit_file(source: Path, entry: FileEntry, path: Path) -> None:
    """Copy a file of a set's fit, and compare both with what the manifest says of it.

    Raises:
        DataSetError: it is missing, damaged, or changed meanwhile.
    """
    verify_file(source, entry)
    with atomic_path(path) as partial:
        shutil.copyfile(source / entry.path, partial)
        if difference(partial, entry.bytes, entry.crc32):
            raise DataSetError(f"{source} changed while its fit was copied: run the same again")


def verify_digests(data: Path, manifest: Manifest) -> None:
    """Compare what a set's fit means with the manifest, column by column; call `verify_fit` before.

    Raises:
        DataSetError: a column is not what a fit writes, or another one than was fitted.
    """
    tables = read_fit_tables(data, manifest)
    if not manifest.fit_digests:  # of before there were digests
        return
    folder, is_extended = DataFolder(data), manifest.extension is not None
    for name, fitted in tables.items():
        digest = quantiles_digest(fitted.table.arrays, fitted.missing, fitted.mean)
        _compare_digest(folder.quantiles, name, digest, manifest)
    for name, ids in zip(CATEGORICAL_COLUMNS, manifest.categories, strict=True):
        path = folder.vocabulary(name)
        digest = vocabulary_digest(path, ids, is_extended=is_extended)
        _compare_digest(path, name, digest, manifest)


def _compare_digest(path: Path, column: str, found: str, manifest: Manifest) -> None:
    expected = manifest.fit_digests[column]
    if found != expected:
        raise DataSetError(
            f"{path} holds another {column} than was fitted (digest {found}, the manifest has "
            f"{expected}): restore it or prepare the set again"
        )


def read_fit_tables(data: Path, manifest: Manifest) -> dict[str, FittedColumn]:
    """The quantile tables of all integer columns; call `verify_fit` before.

    Raises:
        DataSetError: they are not what a fit writes, or other ones than the manifest describes.
    """
    path = DataFolder(data).quantiles
    tables = read_tables(path)
    for column in manifest.numeric:
        found = tables[column.column]
        values = found.table.values
        ends = (int(values[0]), int(values[-1])) if len(values) else (None, None)
        described = (column.minimum, column.maximum), column.mean, column.missing
        if (ends, found.mean, found.missing) != described:
            raise DataSetError(
                f"{path} has another {column.column} than the manifest describes: "
                "restore it or prepare the set again"
            )
    return tables


def read_fit_vocabularies(
    data: Path, manifest: Manifest
) -> dict[str, tuple[UInt32Array, Int32Array]]:
    """Known values and ids of all categorical columns, by id; call `verify_fit` before.

    Raises:
        DataSetError: one is not what a fit writes.
    """
    folder = DataFolder(data)
    sizes = zip(CATEGORICAL_COLUMNS, manifest.categories, strict=True)
    extended = manifest.extension is not None
    return {c: read_vocabulary(folder.vocabulary(c), ids, is_extended=extended) for c, ids in sizes}
