from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID, OOV_ID
from criteo_stream.prepare import read_vocabulary as read_vocabulary_module
from criteo_stream.prepare import vocabulary
from criteo_stream.prepare.counts_before import ExtendedCounts
from criteo_stream.prepare.rare_counts import read_rare_counts
from criteo_stream.prepare.read_vocabulary import read_vocabulary, write_lookup
from criteo_stream.prepare.value_ids import HashedLookup, SortedLookup, open_lookup
from criteo_stream.prepare.vocabulary import VocabularyFacts, build_vocabulary
from tests.prepare.test_counts import ADVERSARIAL, VALUES, shared_slots

Counts = dict[int, int]
COUNTS = st.dictionaries(VALUES, st.integers(1, 6) | st.integers(1, 2**40), max_size=40)


def parts_of(counts: Counts, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    items = sorted(counts.items())
    for start in range(0, max(len(items), 1), size):
        part = items[start : start + size]
        yield np.array([v for v, _ in part], np.uint32), np.array([c for _, c in part], np.int64)


def build(
    folder: Path, counts: Counts, *, min_count: int = 1, most: int | None = None, size: int = 7
) -> tuple[VocabularyFacts, pl.DataFrame]:
    facts = build_vocabulary(
        (ExtendedCounts.of_new(*part) for part in parts_of(counts, size)),
        folder / "C1.parquet",
        folder / "C1.lookup",
        folder / "C1.counts",
        min_count=min_count,
        max_vocabulary=most,
    )
    return facts, pl.read_parquet(folder / "C1.parquet")


def counts_in(path: Path) -> Counts:
    """Counts of the values without an id, each there once."""
    found = [
        pair
        for values, counts in read_rare_counts(path)
        for pair in zip(values.tolist(), counts.tolist(), strict=True)
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


@given(COUNTS, st.integers(1, 8), st.none() | st.integers(1, 10), st.integers(1, 50))
def test_ids_go_by_descending_count_then_value(
    tmp_path_factory: pytest.TempPathFactory,
    counts: Counts,
    min_count: int,
    most: int | None,
    size: int,
) -> None:
    folder = tmp_path_factory.mktemp("vocabulary")
    facts, table = build(folder, counts, min_count=min_count, most=most, size=size)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [item for item in ordered if item[1] >= min_count][:most]
    assert table["value"].to_list() == [v for v, _ in kept]
    assert table["count"].to_list() == [c for _, c in kept]
    assert table["id"].to_list() == list(range(FIRST_KNOWN_ID, FIRST_KNOWN_ID + len(kept)))
    others = dict(ordered) | dict.fromkeys((v for v, _ in kept), 0)
    oov_rows = sum(others.values())
    assert replace(facts, digest="") == VocabularyFacts(
        digest="",
        distinct=len(counts),
        known=len(kept),
        oov_rows=oov_rows,
        new_oov_before=sum(counts.values()),
        new_oov=oov_rows,
    )
    assert counts_in(folder / "C1.counts") == {v: c for v, c in others.items() if c}
    assert sorted(p.name for p in folder.iterdir()) == ["C1.counts", "C1.lookup", "C1.parquet"]


def test_slices_of_any_size_give_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    counts = {int(v): int(c) for v, c in zip(random.integers(0, 2**32, 5000),
                                             random.zipf(1.5, 5000), strict=True)}  # fmt: skip
    contents = []
    for number, (size, piece) in enumerate([(100, 64), (5000, 64), (333, 1 << 20)]):
        monkeypatch.setattr(vocabulary, "SLICE_ENTRIES", piece)
        folder = tmp_path / str(number)
        folder.mkdir()
        build(folder, counts, min_count=2, size=size)
        tables = pl.read_parquet(folder / "C1.parquet")
        contents.append((tables.to_dicts(), (folder / "C1.lookup").read_bytes()))
    assert contents[0] == contents[1] == contents[2]


@given(COUNTS)
def test_a_lookup_made_from_the_vocabulary_is_the_one_made_with_it(
    tmp_path_factory: pytest.TempPathFactory, counts: Counts
) -> None:
    folder = tmp_path_factory.mktemp("lookup")
    facts, _ = build(folder, counts)
    ids = FIRST_KNOWN_ID + facts.known
    write_lookup(folder / "C1.parquet", folder / "again.lookup", ids)
    assert (folder / "again.lookup").read_bytes() == (folder / "C1.lookup").read_bytes()


def test_a_large_lookup_is_written_range_by_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_vocabulary_module, "SLICE_ENTRIES", 300)
    values = np.random.default_rng(2).integers(0, 2**32, 4000).tolist()
    facts, _ = build(tmp_path, {**dict.fromkeys(values, 1), 0: 9, 2**32 - 1: 5})
    ids = FIRST_KNOWN_ID + facts.known
    write_lookup(tmp_path / "C1.parquet", tmp_path / "again.lookup", ids)
    assert (tmp_path / "again.lookup").read_bytes() == (tmp_path / "C1.lookup").read_bytes()


def check_lookups(known: np.ndarray, asked: np.ndarray, path: Path) -> None:
    """All lookups answer like a dict."""
    ids = {value: i + FIRST_KNOWN_ID for i, value in enumerate(known.tolist())}
    expected = [ids.get(value, OOV_ID) for value in asked.tolist()]
    given_ids = np.arange(len(known), dtype=np.int32) + FIRST_KNOWN_ID
    order = np.argsort(known)
    path.write_bytes(known[order].tobytes() + given_ids[order].tobytes())
    for lookup in (
        HashedLookup(known, given_ids),
        SortedLookup(known[order], given_ids[order]),
        open_lookup(path),
    ):
        found = lookup.ids(asked)
        assert found.dtype == np.int32
        assert found.tolist() == expected


@given(st.lists(VALUES, unique=True, max_size=60), st.lists(VALUES, max_size=40))
def test_lookups_answer_like_a_dict(
    tmp_path_factory: pytest.TempPathFactory, known: list[int], asked: list[int]
) -> None:
    path = tmp_path_factory.mktemp("lookups") / "C1.lookup"
    check_lookups(np.array(known, np.uint32), np.array([*asked, *known], np.uint32), path)


@pytest.mark.parametrize("case", ADVERSARIAL)
def test_lookups_are_right_for_values_chosen_against_the_hash(case: str, tmp_path: Path) -> None:
    values = np.unique(ADVERSARIAL[case])
    random = np.random.default_rng(3)
    known = random.permutation(values)[: len(values) // 2 + 1]
    strangers = random.integers(0, 2**32, 1000, dtype=np.uint32)
    asked = np.concatenate([values, strangers, known + np.uint32(1), shared_slots(50)])
    check_lookups(known, asked, tmp_path / "C1.lookup")


def test_a_vocabulary_reads_back(tmp_path: Path) -> None:
    build(tmp_path, {5: 1, 2**32 - 1: 3, 0: 2})
    values, ids = read_vocabulary(tmp_path / "C1.parquet", ids=5)
    assert (values.tolist(), ids.tolist()) == ([2**32 - 1, 0, 5], [2, 3, 4])
