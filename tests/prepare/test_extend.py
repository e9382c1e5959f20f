"""Sets that extend others: ids stay, new ones follow, and counts are those of all days together."""

import itertools
import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream import CriteoDataset
from criteo_stream.base.errors import DataSetError, OutputError, UsageError
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.counts import Run, SpilledRun
from criteo_stream.prepare.counts_before import (
    CountsBefore,
    ExtendedCounts,
    write_counts_before,
)
from criteo_stream.prepare.drift import drift
from criteo_stream.prepare.extend_fit import sort_before
from criteo_stream.prepare.quantiles import build_table
from criteo_stream.prepare.rare_counts import read_rare_counts
from criteo_stream.prepare.vocabulary import build_vocabulary
from criteo_stream.report.columns import column_facts
from criteo_stream.report.inspection import inspect
from criteo_stream.report.verification import verify_data_set
from tests.support.damaged_files import flip
from tests.support.data_sets import content, prepare, read_split
from tests.support.raw_lines import raw_lines, write_raw

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

OPTIONS: dict[str, Any] = {"block_rows": 150, "min_count": 3}
DAYS = (400, 350, 420)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for day, rows in enumerate(DAYS):
        write_raw(folder / f"day_{day}", raw_lines(rows, seed=day))
    return folder


@pytest.fixture(scope="module")
def sets(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A set of each day, each extending the one before; the last entry is of all days at once."""
    folder = tmp_path_factory.mktemp("sets")
    made: list[Path] = []
    for day in range(len(DAYS)):
        out = folder / f"set_{day}"
        before = {"extend": made[-1], "block_rows": 150} if made else OPTIONS
        prepare(raw / f"day_{day}", out, **before)
        made.append(out)
    prepare(raw, folder / "all", **OPTIONS)
    return [*made, folder / "all"]


def known(data: Path, column: str) -> pl.DataFrame:
    return pl.read_parquet(DataFolder(data).vocabulary(column))


def others(data: Path, column: str) -> dict[int, int]:
    parts = list(read_rare_counts(DataFolder(data).counts(column)))
    return {v: c for values, counts in parts for v, c in zip(values, counts, strict=True)}


def test_values_keep_their_ids_and_new_ones_come_after_them(sets: list[Path]) -> None:
    grown = 0
    for before, after in itertools.pairwise(sets[:-1]):
        manifest = Manifest.read(after)
        assert manifest.extension is not None
        assert manifest.min_count == OPTIONS["min_count"]
        sizes = Manifest.read(before).categories
        assert manifest.extension.ids_before == sizes
        for column, size in zip(CATEGORICAL_COLUMNS, sizes, strict=True):
            old, new = known(before, column), known(after, column)
            assert new["id"].to_list() == list(range(FIRST_KNOWN_ID, FIRST_KNOWN_ID + len(new)))
            assert new["value"][: len(old)].equals(old["value"])
            added = new[len(old) :]
            assert added.equals(added.sort(["count", "value"], descending=[True, False]))
            assert (added["count"] >= OPTIONS["min_count"]).all()
            assert len(old) == size - FIRST_KNOWN_ID
            grown += len(added)
    assert grown > 50


def test_day_by_day_knows_and_counts_what_all_days_at_once_do(sets: list[Path]) -> None:
    *_, last, everything = sets
    for column in CATEGORICAL_COLUMNS:
        found, wanted = (
            known(data, column).select("value", "count").sort("value")
            for data in (last, everything)
        )
        assert found.equals(wanted)
        assert others(last, column) == others(everything, column)
    found, wanted = Manifest.read(last).categorical, Manifest.read(everything).categorical
    assert found == wanted


def test_quantiles_stay_and_the_lineage_is_known(sets: list[Path]) -> None:
    first, second, third, _ = sets
    assert third.joinpath("quantiles.parquet").read_bytes() == (
        first.joinpath("quantiles.parquet").read_bytes()
    )
    manifests = [Manifest.read(data) for data in (first, second, third)]
    fingerprints = [manifest.fit_fingerprint for manifest in manifests]
    assert len(set(fingerprints)) == 3
    assert [manifest.lineage for manifest in manifests] == [
        fingerprints[:1], fingerprints[:2], fingerprints,
    ]  # fmt: skip
    assert manifests[2].numeric == manifests[0].numeric
    for data, manifest in zip(sets, manifests, strict=False):
        verify_data_set(data, manifest)


def test_rows_are_encoded_with_the_extended_fit(raw: Path, sets: list[Path]) -> None:
    """The shards hold what looking every value up by hand gives, in some order of the rows."""
    lines = [line.split(b"\t") for line in (raw / "day_2").read_bytes().splitlines()]
    frames = [read_split(sets[2], split) for split in ("train", "valid", "test")]
    for number, column in enumerate(CATEGORICAL_COLUMNS):
        ids = {row["value"]: row["id"] for row in known(sets[2], column).to_dicts()}
        texts = [line[14 + number] for line in lines]
        wanted = Counter(ids.get(int(text, 16), 0) if text else 1 for text in texts)
        assert Counter(pl.concat(frames)[column].to_list()) == wanted


def test_the_same_bytes_from_any_threads_memory_and_blocks_in_parts(
    raw: Path, sets: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from criteo_stream.prepare.memory_budget import MemoryBudget

    monkeypatch.setattr(MemoryBudget, "merge_entries", 50)
    prepare(raw / "day_2", tmp_path / "data", extend=sets[1], block_rows=150, workers=3)
    assert content(tmp_path / "data") == content(sets[2])


def test_a_borrowed_extended_fit_keeps_its_lineage(
    raw: Path, sets: list[Path], tmp_path: Path
) -> None:
    found = prepare(raw / "day_0", tmp_path / "data", fit_from=sets[2], block_rows=150).manifest
    assert found.lineage == Manifest.read(sets[2]).lineage


def test_a_set_with_a_borrowed_fit_is_not_extended(
    raw: Path, sets: list[Path], tmp_path: Path
) -> None:
    prepare(raw / "day_0", tmp_path / "borrowed", fit_from=sets[1], block_rows=150)
    with pytest.raises(DataSetError, match=r"has the fit of another set .*: extend that set"):
        prepare(raw / "day_1", tmp_path / "x", extend=tmp_path / "borrowed", block_rows=150)


def test_facts_are_shares_of_the_rows_that_they_were_counted_in(
    raw: Path, sets: list[Path]
) -> None:
    first, _, third, everything = sets
    manifest, whole = Manifest.read(third), Manifest.read(everything)
    assert manifest.rows_counted == whole.rows["train"] == whole.rows_counted
    assert manifest.rows_ranked == Manifest.read(first).rows["train"]
    assert inspect(third).figures["columns"][13:] == inspect(everything).figures["columns"][13:]  # type: ignore[index]
    dataset = CriteoDataset(third, "train", shuffle=False)
    _, found = column_facts(third, manifest, dataset)
    _, wanted = column_facts(everything, whole, dataset)
    assert [(c.top, c.top_five, c.missing) for c in found] == [
        (c.top, c.top_five, c.missing) for c in wanted
    ]


def test_without_counts_rare_values_are_counted_from_then_on(
    raw: Path, sets: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(raw / "day_0", tmp_path / "first", no_counts=True, **OPTIONS)
    assert not DataFolder(tmp_path / "first").all_counts.exists()
    assert not Manifest.read(tmp_path / "first").count_files
    manifest = prepare(
        raw / "day_1", tmp_path / "second", extend=tmp_path / "first", block_rows=150, quiet=False
    ).manifest
    assert manifest.extension is not None
    assert not manifest.extension.counted
    assert "kept no counts of rare values" in capsys.readouterr().err
    fewer = [
        len(known(sets[1], column)) - len(known(tmp_path / "second", column))
        for column in CATEGORICAL_COLUMNS
    ]
    assert min(fewer) >= 0
    assert sum(fewer) > 10
    assert others(tmp_path / "second", "C4")


def test_a_limit_of_the_vocabulary_holds_for_all_generations(raw: Path, tmp_path: Path) -> None:
    prepare(raw / "day_0", tmp_path / "0", max_vocabulary=20, **OPTIONS)
    prepare(raw / "day_1", tmp_path / "1", extend=tmp_path / "0", block_rows=150)
    assert max(Manifest.read(tmp_path / "1").categories) == 20 + FIRST_KNOWN_ID
    prepare(raw / "day_2", tmp_path / "2", extend=tmp_path / "1", max_vocabulary=25, block_rows=150)
    assert max(Manifest.read(tmp_path / "2").categories) == 25 + FIRST_KNOWN_ID
    column = "C3"
    counted = others(tmp_path / "2", column) | dict(
        known(tmp_path / "2", column).select("value", "count").iter_rows()
    )
    prepare(raw, tmp_path / "all", **OPTIONS)
    wanted = others(tmp_path / "all", column) | dict(
        known(tmp_path / "all", column).select("value", "count").iter_rows()
    )
    assert counted == wanted


def test_what_cannot_be_extended_is_said(raw: Path, sets: list[Path], tmp_path: Path) -> None:
    day = raw / "day_1"
    with pytest.raises(UsageError, match=r"--extend .* is --out itself"):
        prepare(day, sets[0], extend=sets[0])
    with pytest.raises(UsageError, match="--extend and --fit-from exclude each other"):
        prepare(day, tmp_path / "x", extend=sets[0], fit_from=sets[0])
    with pytest.raises(DataSetError, match="does not exist: check the path"):
        prepare(day, tmp_path / "x", extend=tmp_path / "nothing")
    for name in ("vocabulary/C3.parquet", "counts/C4.parquet", "quantiles.parquet"):
        damaged = tmp_path / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(sets[0], damaged)
        flip(damaged / name, random.Random(0))
        with pytest.raises(DataSetError, match=f"{Path(name).name} is damaged"):
            prepare(day, tmp_path / "y", extend=damaged, restart=True)


def test_a_finished_set_asked_for_again_with_another_fit_is_refused(
    raw: Path, sets: list[Path]
) -> None:
    with pytest.raises(OutputError, match=r"begun with.*--extend: give"):
        prepare(raw / "day_2", sets[2], extend=sets[0], block_rows=150)
    assert prepare(raw / "day_2", sets[2], extend=sets[1], block_rows=150).resumed


def test_restart_removes_the_counts_too(raw: Path, sets: list[Path], tmp_path: Path) -> None:
    shutil.copytree(sets[1], tmp_path / "data")
    prepare(raw / "day_1", tmp_path / "data", restart=True, no_counts=True, **OPTIONS)
    assert not DataFolder(tmp_path / "data").all_counts.exists()


COUNTS = st.dictionaries(
    st.integers(0, 40) | st.sampled_from([2**31, 2**32 - 1]), st.integers(1, 5), max_size=25
)


@given(
    st.lists(COUNTS, min_size=2, max_size=4),
    st.integers(1, 6),
    st.integers(1, 30),
)
def test_any_days_end_with_the_counts_of_all(
    tmp_path_factory: pytest.TempPathFactory,
    days: list[dict[int, int]],
    min_count: int,
    max_entries: int,
) -> None:
    folder = tmp_path_factory.mktemp("days")
    total: Counter[int] = Counter()
    ids: dict[int, int] = {}
    for day, counts in enumerate(days):
        total.update(counts)
        run = Run(
            np.array(sorted(counts), np.uint32),
            np.array([counts[v] for v in sorted(counts)], np.uint32),
        )
        if day:
            known_before = pl.read_parquet(folder / "C1.parquet").sort("value")
            columns = [known_before[name].to_numpy() for name in ("value", "count", "id")]
            rare = [
                (v, c, np.zeros(len(v), np.int32)) for v, c in read_rare_counts(folder / "C1.c")
            ]
            write_counts_before(folder / "C1.before", [tuple(columns), *rare])  # type: ignore[list-item]
        else:
            write_counts_before(folder / "C1.before", [])
        parts = list(
            CountsBefore.opened(folder / "C1.before").with_new(
                [SpilledRun(len(counts), lambda run=run: run)],
                max_entries,  # type: ignore[misc]
            )
        )
        assert sum(int(part.new.sum()) for part in parts) == sum(counts.values())
        facts = build_vocabulary(
            parts, folder / "C1.parquet", folder / "C1.lookup", folder / "C1.c",
            min_count=min_count, max_vocabulary=None, known_before=len(ids),
        )  # fmt: skip
        now = {row["value"]: row["id"] for row in pl.read_parquet(folder / "C1.parquet").to_dicts()}
        assert {v: i for v, i in now.items() if v in ids} == ids
        new = [v for v, _ in sorted(now.items(), key=lambda item: item[1])][len(ids) :]
        assert new == sorted(new, key=lambda v: (-total[v], v))
        unknown = sum(c for v, c in counts.items() if v not in ids)
        assert facts.new_oov_before == unknown
        ids = now
        assert facts.new_oov == sum(c for v, c in counts.items() if v not in ids)
        assert set(ids) == {v for v, c in total.items() if c >= min_count}
        assert facts.distinct == len(total)
        assert facts.oov_rows == sum(c for v, c in total.items() if v not in ids)


VALUES = st.lists(st.integers(-50, 50), min_size=1, max_size=60)


def parts_of(values: list[int]) -> list[tuple[Any, Any]]:
    found, counts = np.unique(np.array(values, np.int32), return_counts=True)
    sortable = found.view(np.uint32) ^ np.uint32(0x80000000)
    middle = len(found) // 2
    return [(sortable[:middle], counts[:middle]), (sortable[middle:], counts[middle:])]


@given(VALUES, VALUES)
def test_drift_is_the_statistic_of_kolmogorov_and_smirnov(
    before: list[int], new: list[int]
) -> None:
    table = build_table(parts_of(before), len(before))
    found = drift(table, parts_of(new), len(new))
    differences = [
        np.mean(np.array(new) <= v) - np.mean(np.array(before) <= v) for v in new + before
    ]
    assert found.shifted == pytest.approx(max(map(abs, differences)))
    assert found.outside == sum(not min(before) <= v <= max(before) for v in new)


def test_drift_is_told_and_warned_of(
    raw: Path, sets: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line.split(b"\t") for line in (raw / "day_1").read_bytes().splitlines()]
    for line in lines:
        line[5] = b"999999999"  # I5
    write_raw(tmp_path / "odd", [b"\t".join(line) for line in lines])
    result = prepare(
        tmp_path / "odd", tmp_path / "data", extend=sets[0], block_rows=150, quiet=False
    )
    (warning,) = [w for w in result.warnings if "have drifted far" in w]
    assert "I5" in warning
    extension = result.manifest.extension
    assert extension is not None
    assert extension.outside["I5"] == 1
    assert extension.shifted["I5"] == 1
    assert set(extension.outside) == set(INTEGER_COLUMNS)
    err = capsys.readouterr().err
    assert "extended: " in err
    assert "100.00% of I5 is beyond the range" in err
    assert json.loads((tmp_path / "data" / "manifest.json").read_text())["extension"]


def test_counts_before_come_in_ascending_order(sets: list[Path], tmp_path: Path) -> None:
    manifest = Manifest.read(sets[1])
    sort_before(DataFolder(sets[1]), manifest, "C3", tmp_path / "C3.before")
    found = CountsBefore.opened(tmp_path / "C3.before")
    assert all((np.diff(stretch.values.astype(np.int64)) > 0).all() for stretch in found.stretches)
    nothing = Run(np.empty(0, np.uint32), np.empty(0, np.uint32))
    merged = list(found.with_new([SpilledRun(0, lambda: nothing)], 1000))
    assert isinstance(merged[0], ExtendedCounts)
    assert sum(len(part.values) for part in merged) == manifest.categorical[2].distinct
