"""The same fit, by whatever version of a Parquet library, has the same fingerprint."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.records import RecordError, from_plain
from criteo_stream.base.schema import CATEGORICAL_COLUMNS
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import FileEntry, Manifest
from criteo_stream.prepare import quantiles, vocabulary
from criteo_stream.prepare.read_fit import verify_digests
from criteo_stream.prepare.work_records import Written
from criteo_stream.report.inspection import inspect
from tests.prepare.small_log import SMALL
from tests.support.data_sets import prepare
from tests.support.raw_lines import raw_lines, write_raw

WRITERS: list[dict[str, Any]] = [
    {"compression": "zstd", "version": "2.4", "data_page_version": "2.0"},
    {"compression": "none", "write_statistics": False, "store_schema": True, "data_page_size": 64},
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "log.tsv", raw_lines(600))


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "data"
    prepare(raw, out, **SMALL)
    return out


def with_entries(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest with the checksums of the files as they are now."""
    paths = [entry.path for entry in manifest.fit_files]
    entries = [FileEntry(path=p, **asdict(Written.of(folder / p))) for p in paths]
    return replace(manifest, fit_files=entries)


@pytest.mark.parametrize("writer", WRITERS)
def test_another_writer_of_parquet_makes_the_same_fit(
    raw: Path, made: Path, tmp_path: Path, writer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**writer, "use_dictionary": True, "column_encoding": None}

    class Writer(pq.ParquetWriter):  # type: ignore[misc]
        def __init__(self, path: Path, schema: Any, **_: Any) -> None:
            super().__init__(path, schema, **other)

    monkeypatch.setattr(vocabulary.pq, "ParquetWriter", Writer)
    write_table = pq.write_table
    monkeypatch.setattr(
        quantiles.pq, "write_table", lambda table, path, **_: write_table(table, path, **other)
    )
    found = prepare(raw, tmp_path / "data", **SMALL).manifest
    expected = Manifest.read(made)
    for ours, theirs in zip(found.fit_files, expected.fit_files, strict=True):
        assert ours.path == theirs.path
        assert ours.crc32 != theirs.crc32, ours.path
    assert found.fit_digests == expected.fit_digests
    assert found.fit_fingerprint == expected.fit_fingerprint
    verify_digests(tmp_path / "data", found)


def changed(path: Path, what: str) -> None:
    """Change one number of a vocabulary, such that it is still one that a fit writes."""
    frame = pl.read_parquet(path)
    if what == "value":
        used = set(frame["value"].to_list())
        free = next(i for i in range(2**32) if i not in used)
        column = pl.Series("value", [free, *frame["value"][1:]], pl.UInt32)
    else:
        column = pl.Series("count", [frame["count"][0] + 1, *frame["count"][1:]], pl.Int64)
    table = frame.with_columns(column).to_arrow().cast(vocabulary.VOCABULARY_SCHEMA)
    pq.write_table(table, path)


@pytest.mark.parametrize("what", ["value", "count"])
@pytest.mark.parametrize("column", [CATEGORICAL_COLUMNS[0], CATEGORICAL_COLUMNS[-1]])
def test_a_vocabulary_of_other_numbers_is_told(
    raw: Path, tmp_path: Path, what: str, column: str
) -> None:
    out = tmp_path / "data"
    manifest = prepare(raw, out, **SMALL).manifest
    inspect(out, verify=True)
    changed(DataFolder(out).vocabulary(column), what)
    with_entries(out, manifest).write(out)  # as one who forges a set would
    with pytest.raises(DataSetError, match=rf"{column}\.parquet holds another {column} than was"):
        inspect(out, verify=True)


def test_a_manifest_whose_fingerprint_is_not_its_digests_is_refused(made: Path) -> None:
    manifest = Manifest.read(made)
    plain = asdict(manifest)
    assert from_plain(plain, Manifest) == manifest
    for name in ("fit_digests", "fit_fingerprint"):
        other: Any = "0" * 16
        if name == "fit_digests":
            other = {**manifest.fit_digests, "I1": other}
        with pytest.raises(RecordError, match="fit_fingerprint: not of the fit_digests"):
            from_plain(plain | {name: other}, Manifest)


def test_a_set_of_before_is_read_and_its_fit_keeps_its_name(raw: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    manifest = replace(
        prepare(raw, old, **SMALL).manifest, fit_digests={}, fit_fingerprint="0123456789abcdef"
    )
    plain = asdict(manifest)
    del plain["fit_digests"]
    assert from_plain(plain, Manifest) == manifest
    manifest.write(old)
    inspect(old, verify=True)
    assert prepare(raw, old, **SMALL).resumed
    more = write_raw(tmp_path / "more.tsv", raw_lines(300, seed=5))
    borrowed = prepare(more, tmp_path / "borrowed", fit_from=old).manifest
    assert (borrowed.fit_fingerprint, borrowed.fit_digests) == (manifest.fit_fingerprint, {})
    extended = prepare(more, tmp_path / "extended", extend=old).manifest
    assert extended.lineage == [manifest.fit_fingerprint, extended.fit_fingerprint]
    verify_digests(tmp_path / "extended", extended)
    assert extended.fit_digests


def test_a_borrowed_fit_is_the_same_fit(made: Path, tmp_path: Path) -> None:
    more = write_raw(tmp_path / "more.tsv", raw_lines(300, seed=5))
    found = prepare(more, tmp_path / "data", fit_from=made).manifest
    assert found.fit_digests == Manifest.read(made).fit_digests != {}
    verify_digests(tmp_path / "data", found)
