"""Sets whose checksums are right and whose content cannot be: refused by name when read."""

import dataclasses
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.records import checksum_of
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.apply_fit import load_encoder
from criteo_stream.report.inspection import inspect
from tests.support.data_sets import prepare
from tests.support.stopped_preparation import OPTIONS

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def sound(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "data"
    prepare(raw, out, **OPTIONS)
    return out


@pytest.fixture
def wrong(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test makes wrong."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


def seal(folder: Path) -> None:
    """Make all checksums right again."""
    path = DataFolder(folder).manifest
    raw = json.loads(path.read_text())
    entries = [*raw["fit_files"], *(entry for split in raw["shards"].values() for entry in split)]
    for entry in entries:
        content = (folder / entry["path"]).read_bytes()
        entry |= {"bytes": len(content), "crc32": f"{zlib.crc32(content):08x}"}
    decisive = {n: v for n, v in raw.items() if n not in ("checksum", "times")}
    path.write_text(json.dumps(raw | {"checksum": checksum_of(decisive)}))


def rewrite(path: Path, change: Callable[[dict[str, list[Any]]], None]) -> None:
    """Change the columns of a Parquet file, as lists; its schema stays."""
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    groups = pq.ParquetFile(path).metadata.row_group(0).num_rows
    changed = pa.table(columns, schema=table.schema.remove_metadata())
    pq.write_table(changed, path, row_group_size=max(1, groups), store_schema=False)


def one_value_twice(columns: dict[str, list[Any]]) -> None:
    columns["value"][3] = columns["value"][1]


def one_id_twice(columns: dict[str, list[Any]]) -> None:
    columns["id"][3] = columns["id"][1]


def a_gap(columns: dict[str, list[Any]]) -> None:
    columns["id"][-1] += 1


def one_value_less(columns: dict[str, list[Any]]) -> None:
    for values in columns.values():
        values.pop()


def rising_counts(columns: dict[str, list[Any]]) -> None:
    columns["count"].reverse()
    columns["count"][0] = 1
    columns["count"][1] = 2


def no_counts(columns: dict[str, list[Any]]) -> None:
    columns["count"][:] = [0] * len(columns["count"])


@pytest.mark.parametrize(
    "change",
    [one_value_twice, one_id_twice, a_gap, one_value_less, rising_counts, no_counts],
)
def test_a_vocabulary_that_no_fit_writes_is_refused(
    change: Callable[[dict[str, list[Any]]], None], wrong: Path
) -> None:
    rewrite(DataFolder(wrong).vocabulary("C14"), change)
    seal(wrong)
    refused_everywhere(wrong, r"C14\.parquet is not what a fit writes")


def falling(columns: dict[str, list[Any]]) -> None:
    columns["value"][2].reverse()


def an_empty_table(columns: dict[str, list[Any]]) -> None:
    for name in ("value", "rows_below", "rows_up_to"):
        columns[name][2] = []


def unequal_lengths(columns: dict[str, list[Any]]) -> None:
    columns["rows_below"][2].pop()


def one_column_twice(columns: dict[str, list[Any]]) -> None:
    for values in columns.values():
        values[2] = values[1]


def one_column_less(columns: dict[str, list[Any]]) -> None:
    for values in columns.values():
        del values[2]


def a_gap_in_a_list(columns: dict[str, list[Any]]) -> None:
    columns["value"][2][0] = None


def falling_ranks(columns: dict[str, list[Any]]) -> None:
    columns["rows_up_to"][2][0] = 0


def an_infinite_mean(columns: dict[str, list[Any]]) -> None:
    columns["mean"][2] = float("inf")


def negative_missing(columns: dict[str, list[Any]]) -> None:
    columns["missing"][2] = -1


@pytest.mark.parametrize(
    "change",
    [
        falling,
        an_empty_table,
        unequal_lengths,
        one_column_twice,
        one_column_less,
        a_gap_in_a_list,
        falling_ranks,
        an_infinite_mean,
        negative_missing,
    ],
)
def test_a_quantile_table_that_no_fit_writes_is_refused(
    change: Callable[[dict[str, list[Any]]], None], wrong: Path
) -> None:
    rewrite(DataFolder(wrong).quantiles, change)
    seal(wrong)
    refused_everywhere(wrong, r"quantiles\.parquet is not what a fit writes")


def test_quantiles_of_another_set_are_refused(wrong: Path) -> None:
    def shift(columns: dict[str, list[Any]]) -> None:
        columns["missing"][2] += 1

    rewrite(DataFolder(wrong).quantiles, shift)
    seal(wrong)
    refused_everywhere(wrong, "another I3 than the manifest describes")


@pytest.mark.parametrize("name", ["vocabulary/C2.parquet", "quantiles.parquet"])
@pytest.mark.parametrize("kind", ["other columns", "not Parquet", "empty"])
def test_another_file_in_the_place_of_the_fit_is_refused(name: str, kind: str, wrong: Path) -> None:
    path = wrong / name
    if kind == "other columns":
        pq.write_table(pa.table({"value": [1, 2]}), path)
    else:
        path.write_bytes(b"not parquet" if kind == "not Parquet" else b"")
    seal(wrong)
    refused_everywhere(wrong, path.name)


def refused_everywhere(folder: Path, message: str) -> None:
    manifest = Manifest.read(folder)
    with pytest.raises(DataSetError, match=message):
        load_encoder(folder, manifest)
    with pytest.raises(DataSetError, match=message):
        inspect(folder, verify=True)
    raw = [entry.path for entry in manifest.inputs]
    with pytest.raises(DataSetError):
        prepare(raw, folder.parent / "other", fit_from=folder, block_rows=500)


def test_a_shard_whose_values_are_wrong_is_found(wrong: Path) -> None:
    shard = wrong / Manifest.read(wrong).shards["valid"][0].path
    sizes = Manifest.read(wrong).categories

    def too_large(columns: dict[str, list[Any]]) -> None:
        columns["C5"][1] = sizes[4]

    rewrite(shard, too_large)
    seal(wrong)
    with pytest.raises(DataSetError, match="holds a C5 that is out of range"):
        inspect(wrong, verify=True)


def test_a_shard_with_other_clicks_is_found(wrong: Path) -> None:
    shard = wrong / Manifest.read(wrong).shards["train"][0].path

    def clicked(columns: dict[str, list[Any]]) -> None:
        columns["label"][columns["label"].index(0)] = 1

    rewrite(shard, clicked)
    seal(wrong)
    with pytest.raises(DataSetError, match=r"part-.* clicks where the manifest has"):
        inspect(wrong, verify=True)


def test_a_sound_set_is_found_sound(sound: Path) -> None:
    assert "are sound" in inspect(sound, verify=True).lines[-1]


MANIFESTS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a shard twice": (
        lambda m: dataclasses.replace(
            m,
            shards={**m.shards, "train": [*m.shards["train"], m.shards["train"][0]]},
            **grown(m, m.shards["train"][0].rows),
        ),
        "listed twice",
    ),
    "a shard in two splits": (
        lambda m: dataclasses.replace(
            m,
            shards={**m.shards, "valid": [*m.shards["valid"], m.shards["train"][0]]},
            **grown(m, m.shards["train"][0].rows, "valid"),
        ),
        "is no shard of valid",
    ),
    "a column's name that leads elsewhere": (
        lambda m: dataclasses.replace(
            m,
            categorical=[
                dataclasses.replace(m.categorical[0], column="../../secret"),
                *m.categorical[1:],
            ],
        ),
        "not C1 to C26",
    ),
    "columns in another order": (
        lambda m: dataclasses.replace(m, numeric=m.numeric[::-1]),
        "not I1 to I13",
    ),
    "a column less": (
        lambda m: dataclasses.replace(m, categorical=m.categorical[:-1]),
        "not C1 to C26",
    ),
    "rows that do not add up": (
        lambda m: dataclasses.replace(m, rows=m.rows | {"rejected": 5}),
        "do not add up",
    ),
    "rows thinned that were not read": (
        lambda m: dataclasses.replace(m, rows=m.rows | {"thinned": 5}),
        "do not add up",
    ),
    "none thinned, and counted": (
        lambda m: dataclasses.replace(m, rows=m.rows | {"thinned": 0}),
        "thinned is 0",
    ),
    "a split's rows": (
        lambda m: dataclasses.replace(
            m, rows=m.rows | {"train": m.rows["train"] + 1, "valid": m.rows["valid"] - 1}
        ),
        "rows in all",
    ),
    "a split less": (
        lambda m: dataclasses.replace(m, shards={"train": m.shards["train"]}),
        "expected train, valid, test",
    ),
    "a fit file less": (
        lambda m: dataclasses.replace(m, fit_files=m.fit_files[1:]),
        "fit_files",
    ),
    "a list of malformed lines elsewhere": (
        lambda m: dataclasses.replace(
            m, rejected=dataclasses.replace(m.fit_files[0], path="/etc/passwd")
        ),
        "rejected",
    ),
    "a shard elsewhere": (
        lambda m: dataclasses.replace(
            m,
            shards={
                **m.shards,
                "train": [
                    dataclasses.replace(m.shards["train"][0], path="../part-00000.parquet"),
                    *m.shards["train"][1:],
                ],
            },
        ),
        "is no shard of train",
    ),
}


def grown(manifest: Manifest, rows: int, split: str = "train") -> dict[str, Any]:
    counted, first = manifest.rows, manifest.inputs[0]
    return {
        "rows": counted | {split: counted[split] + rows, "read": counted["read"] + rows},
        "inputs": [dataclasses.replace(first, rows=first.rows + rows), *manifest.inputs[1:]],
    }


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_cannot_be_true_is_refused(case: str, wrong: Path) -> None:
    change, message = MANIFESTS[case]
    manifest = Manifest.read(wrong)
    with pytest.raises(ValueError, match=message):
        change(manifest)


def test_a_right_checksum_is_not_enough(wrong: Path) -> None:
    path = DataFolder(wrong).manifest
    raw = json.loads(path.read_text())
    raw["categorical"][0]["column"] = "../../secret"
    path.write_text(json.dumps(raw))
    seal(wrong)
    with pytest.raises(DataSetError, match=r"manifest\.json is damaged or edited \(categorical"):
        Manifest.read(wrong)


def test_infinite_quantiles_are_found(wrong: Path) -> None:
    shard = wrong / Manifest.read(wrong).shards["test"][0].path

    def infinite(columns: dict[str, list[Any]]) -> None:
        columns["I7"][0] = np.inf

    rewrite(shard, infinite)
    seal(wrong)
    with pytest.raises(DataSetError, match="holds a I7 that is out of range"):
        inspect(wrong, verify=True)
