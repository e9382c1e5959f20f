import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data import shards as shards_module
from criteo_stream.data import verified as verified_module
from criteo_stream.data.manifest import Manifest, ShardEntry
from criteo_stream.data.shards import RowGroup, ShardReader, row_group_sizes, write_shard
from criteo_stream.data.verified import VerifiedFiles
from tests.support.prepared import encoded_rows, row_groups, write_data_set

ANY_IDS = [2**31] * 26


def reader_of(folder: Path, manifest: Manifest, split: str = "train") -> ShardReader:
    return ShardReader(
        folder,
        manifest.shards[split],
        manifest.row_group_rows,
        manifest.categories,
        VerifiedFiles(),
    )


def test_reads_back_every_row_group_in_order(tmp_path: Path) -> None:
    manifest = write_data_set(tmp_path, {"train": [200, 0, 64, 7]}, row_group_rows=64)
    reader = reader_of(tmp_path, manifest)
    sizes = row_group_sizes(manifest.shards["train"], 64)
    groups = [reader.read(g) for g in range(len(sizes))]
    assert [len(g.label) for g in groups] == sizes.tolist() == [64, 64, 64, 8, 64, 7]
    expected = encoded_rows(np.arange(271))
    for field in ("numeric", "categorical", "label"):
        arrays = [getattr(group, field) for group in groups]
        assert all(array.flags.c_contiguous for array in arrays)
        assert all(array.dtype == getattr(expected, field).dtype for array in arrays)
        np.testing.assert_array_equal(np.concatenate(arrays), getattr(expected, field))


@given(seed=st.integers(0, 2**32), bits=st.integers(1, 31))
def test_ids_of_any_size_and_any_float_survive(
    tmp_path_factory: pytest.TempPathFactory, seed: int, bits: int
) -> None:
    random = np.random.default_rng(seed)
    rows = int(random.integers(1, 300))
    label = random.integers(0, 2, rows, dtype=np.uint8)
    numeric = random.random((13, rows), dtype=np.float32)
    categorical = random.integers(0, 2**bits, (26, rows)).astype(np.int32)
    path = tmp_path_factory.mktemp("train") / "part.parquet"
    entry = write_shard(path, row_groups(RowGroup(numeric.T, categorical.T, label), 100))
    assert entry.rows == rows
    assert entry.positives == label.sum()
    reader = ShardReader(path.parents[1], [entry], 100, ANY_IDS, VerifiedFiles())
    groups = [reader.read(g) for g in range(-(-rows // 100))]
    np.testing.assert_array_equal(np.concatenate([g.numeric for g in groups]), numeric.T)
    np.testing.assert_array_equal(np.concatenate([g.categorical for g in groups]), categorical.T)
    np.testing.assert_array_equal(np.concatenate([g.label for g in groups]), label)


def test_other_tools_read_a_flat_non_nullable_table(tmp_path: Path) -> None:
    manifest = write_data_set(tmp_path, {"train": [150]})
    path = tmp_path / manifest.shards["train"][0].path
    expected = encoded_rows(np.arange(150))
    schema = pq.read_schema(path)
    assert schema.names == ["label", *INTEGER_COLUMNS, *CATEGORICAL_COLUMNS]
    assert not any(field.nullable for field in schema)
    frame = pl.read_parquet(path)
    assert frame.schema["label"] == pl.UInt8
    np.testing.assert_array_equal(frame["C26"], expected.categorical[:, 25])
    np.testing.assert_array_equal(frame["I13"], expected.numeric[:, 12])


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_data_set(tmp_path / "a", {"train": [500]})
    second = write_data_set(tmp_path / "b", {"train": [500]})
    assert first.shards == second.shards
    path = first.shards["train"][0].path
    assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    group = encoded_rows(np.arange(10))
    with pytest.raises(ValueError, match="length"):
        write_shard(tmp_path / "part.parquet", row_groups(group._replace(label=group.label[:5]), 9))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_before_a_row_is_given(tmp_path: Path, damage: str) -> None:
    manifest = write_data_set(tmp_path, {"train": [100, 100]})
    path = tmp_path / manifest.shards["train"][1].path
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    if damage == "flip":
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    reader = reader_of(tmp_path, manifest)
    reader.read(0)
    with pytest.raises(DataSetError, match=r"part-00001\.parquet is (damaged|missing)"):
        reader.read(2)


def test_a_shard_is_verified_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_data_set(tmp_path, {"train": [100, 100, 100]})
    paths = [entry.path for entry in manifest.shards["train"]]
    verified: list[str] = []
    monkeypatch.setattr(
        verified_module, "verify_file", lambda _, entry: verified.append(entry.path)
    )
    monkeypatch.setattr(shards_module, "OPEN_FILES", 2)
    shared = VerifiedFiles()

    def read() -> None:
        reader = ShardReader(tmp_path, manifest.shards["train"], 64, manifest.categories, shared)
        for group in [0, 2, 4, 0, 2, 4]:
            reader.read(group)

    read()
    read()
    assert verified == paths
    (tmp_path / paths[1]).touch()
    read()
    assert verified == [*paths, paths[1]]
    shared.forget()
    read()
    assert verified == [*paths, paths[1], *paths]


def change_label(rows: RowGroup) -> RowGroup:
    rows.label[70] = 2
    return rows


def change_quantile(column: int, value: float) -> Callable[[RowGroup], RowGroup]:
    def change(rows: RowGroup) -> RowGroup:
        rows.numeric[70, column] = value
        return rows

    return change


def change_id(column: int, value: int) -> Callable[[RowGroup], RowGroup]:
    def change(rows: RowGroup) -> RowGroup:
        rows.categorical[70, column] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (change_label, "label"),
        *((change_quantile(3, value), "I4") for value in (-0.1, 1.1, np.inf, -np.inf, 1e38)),
        (change_quantile(12, np.nextafter(np.float32(1), np.float32(2))), "I13"),
        *((change_id(1, value), "C2") for value in (-1, 1009, 2**31 - 1, -(2**31))),
        (change_id(25, 1009), "C26"),
        (change_id(0, 200), "C1"),
    ],
)
def test_a_value_out_of_range_is_refused_whatever_the_checksum(
    change: Callable[[RowGroup], RowGroup], column: str, tmp_path: Path
) -> None:
    manifest = write_data_set(
        tmp_path, {"train": [200]}, encode=lambda _, rows: change(encoded_rows(rows))
    )
    reader = reader_of(tmp_path, manifest)
    reader.read(0)
    with pytest.raises(DataSetError, match=rf"part-00000\.parquet holds a {column} that is out"):
        reader.read(1)


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to nothing"])
def test_what_is_no_file_is_no_shard(kind: str, tmp_path: Path) -> None:
    manifest = write_data_set(tmp_path, {"train": [100]})
    path = tmp_path / manifest.shards["train"][0].path
    path.unlink()
    {
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "link to nothing": lambda: path.symlink_to("nowhere"),
    }[kind]()
    with pytest.raises(DataSetError, match=r"part-00000\.parquet is (not a file|missing)"):
        reader_of(tmp_path, manifest).read(0)


def test_open_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_data_set(tmp_path, {"train": [64] * 8})
    monkeypatch.setattr(shards_module, "OPEN_FILES", 3)
    reader = reader_of(tmp_path, manifest)

    def descriptors() -> int:
        return sum(path.resolve().suffix == ".parquet" for path in Path("/proc/self/fd").iterdir())

    for group in [*range(8), *range(8)]:
        assert reader.read(group).categorical[0, 0] == group * 64
    assert descriptors() == 3
    reader.close()
    assert descriptors() == 0


def test_a_sound_file_that_is_not_the_listed_shard_is_refused(tmp_path: Path) -> None:
    manifest = write_data_set(tmp_path, {"train": [100]})
    entry = manifest.shards["train"][0]
    for rows, group_rows in [(101, 64), (100, 50)]:
        other = ShardEntry(path=entry.path, bytes=0, crc32="", rows=rows, positives=0)
        reader = ShardReader(tmp_path, [other], group_rows, ANY_IDS, None)
        with pytest.raises(DataSetError, match=r"part-00000\.parquet is not the shard"):
            reader.read(0)


def test_garbage_is_named_even_unverified(tmp_path: Path) -> None:
    manifest = write_data_set(tmp_path, {"train": [100]})
    path = tmp_path / manifest.shards["train"][0].path
    path.write_bytes(b"not parquet at all")
    reader = ShardReader(tmp_path, manifest.shards["train"], 64, ANY_IDS, None)
    with pytest.raises(DataSetError, match=r"part-00000\.parquet cannot be read"):
        reader.read(0)
