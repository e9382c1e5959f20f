"""The fit of another prepared set, to be extended by new rows.

It is copied into the working folder first, so that the tasks find it on every host.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.reserved_ids import OOV_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.base.storage import atomic_path, make_folder
from criteo_stream.data.extension import Extension
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import FileEntry, Manifest, verify_file
from criteo_stream.prepare.counts import Int64Array, UInt32Array
from criteo_stream.prepare.counts_before import write_counts_before
from criteo_stream.prepare.fit_records import FittedRecord
from criteo_stream.prepare.options import PrepareOptions
from criteo_stream.prepare.rare_counts import read_rare_counts
from criteo_stream.prepare.read_fit import copy_fit_file
from criteo_stream.prepare.read_vocabulary import known_by_value
from criteo_stream.prepare.task import identity_of_fit
from criteo_stream.prepare.value_ids import Int32Array
from criteo_stream.prepare.work_records import FittedCategorical, FittedNumeric


def take_before(source: Path | None, before: DataFolder) -> Manifest | None:
    """Copy the fit of a set, unless an earlier try did, and compare each file with its manifest.

    Args:
        source: the set that is extended, if one is.
        before: where to.

    Raises:
        DataSetError: the set is incomplete, damaged, or changes meanwhile.
    """
    if source is None:
        return None
    manifest = Manifest.read(source)
    if manifest.options.get("fit_from") is not None:
        raise DataSetError(
            f"{source} has the fit of another set (--fit-from), and counted nothing itself: extend "
            "that set"
        )
    if not manifest.fit_files:
        raise DataSetError(f"{source} holds no vocabularies and quantiles: prepare the set again")
    copied = Manifest.read(before.path) if before.manifest.exists() else None
    if copied and identity_of_fit(copied) == identity_of_fit(manifest):
        for entry in _fit_of(copied):
            verify_file(before.path, entry)
        return copied
    for folder in (before.path, before.vocabularies, before.all_counts):
        make_folder(folder)
    for entry in _fit_of(manifest):
        copy_fit_file(source, entry, before.path / entry.path)
    with atomic_path(before.manifest) as partial:  # last: with it the copy is whole
        shutil.copyfile(DataFolder(source).manifest, partial)
    return Manifest.read(before.path)


def _fit_of(manifest: Manifest) -> list[FileEntry]:
    return [*manifest.fit_files, *manifest.count_files]


def sort_before(before: DataFolder, manifest: Manifest, column: str, path: Path) -> None:
    """Put what was counted of a column in ascending order, for `CountsBefore`.

    Raises:
        DataSetError: a file is not what a fit writes.
    """
    ids = manifest.categories[CATEGORICAL_COLUMNS.index(column)]

    def parts() -> Iterator[tuple[UInt32Array, Int64Array, Int32Array]]:
        is_extended = manifest.extension is not None
        for known in known_by_value(before.vocabulary(column), ids, is_extended=is_extended):
            yield known.values, known.counts, known.ids
        if manifest.count_files:
            for values, counts in read_rare_counts(before.counts(column)):
                yield values, counts, np.full(len(values), OOV_ID, np.int32)

    write_counts_before(path, parts())


def extension_of(
    manifest: Manifest, fitted: dict[str, FittedRecord], rows: int, missing: dict[str, int]
) -> Extension:
    """How a fit extends that of a set.

    Args:
        manifest: of that set.
        fitted: the columns' records.
        rows: new training rows.
        missing: per column, those of them without a value.
    """

    def share(column: str, some: int) -> float:
        present = rows - missing[column]
        return some / present if present else 0.0

    numeric = {c: r for c in INTEGER_COLUMNS if isinstance(r := fitted[c], FittedNumeric)}
    categorical = {
        c: r for c in CATEGORICAL_COLUMNS if isinstance(r := fitted[c], FittedCategorical)
    }
    return Extension(
        lineage=manifest.lineage,
        ids_before=manifest.categories,
        rows=manifest.rows_counted + rows,
        first_rows=manifest.rows_ranked,
        counted=bool(manifest.count_files),
        outside={c: share(c, r.outside) for c, r in numeric.items()},
        shifted={c: r.shifted for c, r in numeric.items()},
        oov_before={c: share(c, r.new_oov_before) for c, r in categorical.items()},
        oov_after={c: share(c, r.new_oov) for c, r in categorical.items()},
    )


def limits_of(
    options: PrepareOptions, rows: int, before: Manifest | None
) -> tuple[int, int | None]:
    """``min_count`` and ``max_vocabulary``: as given, or as in the set that is extended.

    Args:
        options: of the preparation.
        rows: its training rows.
        before: of the set that is extended, if one is.
    """
    if before is None:
        return options.min_count_for(rows), options.max_vocabulary
    limit = before.options.get("max_vocabulary")
    assert limit is None or isinstance(limit, int)
    return options.min_count or before.min_count, options.max_vocabulary or limit
