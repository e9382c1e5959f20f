"""A fit's fingerprint is of what the fit means: the same bytes as its definition says."""

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.schema import FEATURE_COLUMNS
from criteo_stream.data import fit_fingerprint
from criteo_stream.data.fit_fingerprint import (
    VocabularyDigest,
    fingerprint_of_fit,
    quantiles_digest,
)

Entry = tuple[int, int, int]
ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 2**32 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=12,
)
INT64 = st.integers(-(2**63), 2**63 - 1)
MEANS = st.none() | st.floats(allow_nan=False)


def digest_in_parts(entries: Sequence[Entry], size: int) -> str:
    digest = VocabularyDigest(len(entries))
    for start in range(0, len(entries), size):
        part = entries[start : start + size]
        digest.add(
            np.array([value for value, _, _ in part], np.uint32),
            np.array([i for _, i, _ in part], np.int32),
            np.array([count for _, _, count in part], np.int64),
        )
    return digest.digest()


@given(ENTRIES, st.integers(1, 12), st.integers(1, 5))
def test_a_vocabulary_is_hashed_as_defined_whatever_the_parts(
    entries: list[Entry], size: int, together: int
) -> None:
    plain = struct.pack("<q", len(entries)) + b"".join(struct.pack("<Iiq", *e) for e in entries)
    before = fit_fingerprint._ENTRIES
    fit_fingerprint._ENTRIES = together  # type: ignore[misc]
    try:
        assert digest_in_parts(entries, size) == hashlib.sha256(plain).hexdigest()[:16]
    finally:
        fit_fingerprint._ENTRIES = before  # type: ignore[misc]


@given(ENTRIES.filter(bool), st.data())
def test_any_change_of_a_vocabulary_is_another_one(
    entries: list[Entry], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(entries) - 1))
    what = data.draw(st.sampled_from(["value", "id", "count", "one less", "another order"]))
    value, number, count = entries[place]
    changed = list(entries)
    if what == "one less":
        del changed[place]
    elif what == "another order":
        changed.reverse()
    else:
        changed[place] = {
            "value": (value ^ 1, number, count),
            "id": (value, number ^ 1, count),
            "count": (value, number, count ^ 1),
        }[what]
    same = changed == list(entries)  # reversed, some lists are themselves
    assert (digest_in_parts(changed, 5) == digest_in_parts(entries, 5)) == same


@given(st.lists(st.tuples(INT64, INT64, INT64), max_size=12), st.integers(0, 2**62), MEANS)
def test_quantiles_are_hashed_as_defined(
    rows: list[tuple[int, int, int]], missing: int, mean: float | None
) -> None:
    arrays = [np.array([row[i] for row in rows], np.int64) for i in range(3)]
    numbers = [len(rows), *(row[i] for i in range(3) for row in rows), missing]
    plain = struct.pack(f"<{len(numbers)}q", *numbers)
    plain += b"" if mean is None else struct.pack("<d", mean)
    assert quantiles_digest(arrays, missing, mean) == hashlib.sha256(plain).hexdigest()[:16]


@given(st.sampled_from(FEATURE_COLUMNS), st.integers(0, 2**62))
def test_a_fit_is_its_minimal_count_and_its_columns(column: str, min_count: int) -> None:
    digests = {name: f"{i:016x}" for i, name in enumerate(FEATURE_COLUMNS)}
    found = fingerprint_of_fit(min_count, digests)
    assert found == fingerprint_of_fit(min_count, dict(reversed(digests.items())))
    assert found != fingerprint_of_fit(min_count + 1, digests)
    assert found != fingerprint_of_fit(min_count, digests | {column: "f" * 16})
