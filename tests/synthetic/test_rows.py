"""Synthetic rows: the same bytes every time, Criteo's form and marginals, the documented labels."""

import gzip
import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.synthetic import CHUNK_ROWS, generate
from criteo_stream.synthetic.lines import value_of_rank
from criteo_stream.synthetic.marginals import MARGINALS, MISSING
from tests.support.paths import REAL_DATA

REAL_ROWS = REAL_DATA / "criteo_kaggle_dev.tsv.gz"
SCHEMA = {LABEL: pl.UInt8} | {
    name: pl.Int64 if name in INTEGER_COLUMNS else pl.String for name in FEATURE_COLUMNS
}
LINE = re.compile(rb"[01](\t(-?[0-9]+)?){13}(\t([0-9a-f]{8})?){26}")


def read_frame(source: Path | bytes) -> pl.DataFrame:
    frame = pl.read_csv(source, separator="\t", has_header=False, schema=SCHEMA)
    return frame.with_columns(pl.col(CATEGORICAL_COLUMNS).replace("", None))


def text(rows: int, seed: int, start: int = 0) -> bytes:
    return b"".join(chunk.lines for chunk in generate(rows, seed, start))


@pytest.fixture(scope="module")
def log() -> bytes:
    return text(CHUNK_ROWS + 3000, seed=5)


@pytest.fixture(scope="module")
def frame(log: bytes) -> pl.DataFrame:
    return read_frame(log)


# --- the rows of a seed ---


def test_the_same_rows_as_ever() -> None:
    """A change of these bytes, or of the teacher, makes published figures unrepeatable."""
    chunk = next(generate(2000, seed=1))
    assert zlib.crc32(chunk.lines) == 4179796067
    assert zlib.crc32(chunk.probabilities.tobytes()) == 467537525


@settings(max_examples=5)
@given(start=st.integers(0, CHUNK_ROWS + 2990), rows=st.integers(0, 10))
def test_a_row_depends_on_seed_and_number_alone(log: bytes, start: int, rows: int) -> None:
    lines = log.splitlines(keepends=True)
    assert text(rows, seed=5, start=start) == b"".join(lines[start : start + rows])


def test_a_part_across_chunks(log: bytes) -> None:
    lines = log.splitlines(keepends=True)
    first = CHUNK_ROWS - 2
    assert text(5, seed=5, start=first) == b"".join(lines[first : first + 5])


def test_seeds_differ() -> None:
    one, other = (set(text(1000, seed).splitlines()) for seed in (0, 1))
    assert not one & other


def test_any_seed_of_64_bits() -> None:
    assert text(3, seed=2**64 - 1).count(b"\n") == 3
    for seed in (-1, 2**64):
        with pytest.raises(UsageError, match="seed"):
            generate(1, seed)
    with pytest.raises(UsageError, match="first row"):
        generate(1, 0, start=-1)


# --- the form of a line ---


def test_every_line_is_criteo(log: bytes) -> None:
    assert log.endswith(b"\n")
    assert all(LINE.fullmatch(line) for line in log.splitlines())


def test_unlabelled_lines_are_the_same_without_the_label() -> None:
    labelled = text(500, seed=3).splitlines()
    unlabelled = b"".join(chunk.lines for chunk in generate(500, 3, labelled=False)).splitlines()
    assert unlabelled == [line.split(b"\t", 1)[1] for line in labelled]


def test_large_integers_are_written_out(frame: pl.DataFrame) -> None:
    """Integers beyond the table of decimals take another path."""
    largest = frame["I5"].drop_nulls().max()
    assert isinstance(largest, int)
    assert 2**16 < largest < MARGINALS["I5"].size
    assert frame["I5"].is_between(60_000, 70_000).sum() > 100


def test_values_of_a_column_are_distinct() -> None:
    ranks = np.arange(2**20, dtype=np.uint32)
    for column in (0, 25):
        assert len(np.unique(value_of_rank(ranks, column))) == len(ranks)


# --- marginals ---


@pytest.mark.parametrize("column", FEATURE_COLUMNS)
def test_inverse_tables_cover_every_rank_once(column: str) -> None:
    table = MARGINALS[column].inverse()
    end = table.base.astype(np.int64) + table.width
    assert end[-1] == MARGINALS[column].size
    # A cell begins where the last one ended, or in the one rank that both share.
    assert np.all((table.base[1:] == end[:-1]) | (table.base[1:] == end[:-1] - 1))
    assert table.width.max() < 2**16


def test_columns_are_missing_together(frame: pl.DataFrame) -> None:
    for group in MISSING:
        first, *others = (frame[column].is_null() for column in group.columns)
        assert first.any()
        assert all((first == other).all() for other in others)
    named = {column for group in MISSING for column in group.columns}
    assert all(frame[column].null_count() == 0 for column in set(FEATURE_COLUMNS) - named)


def test_click_rate(frame: pl.DataFrame) -> None:
    assert frame[LABEL].mean() == pytest.approx(0.256, abs=0.006)  # 3.5 standard deviations


def test_only_i2_is_negative(frame: pl.DataFrame) -> None:
    assert frame["I2"].min() in (-2, -3)
    assert frame["I2"].eq(-1).mean() == pytest.approx(0.102, abs=0.01)
    assert all(
        frame[column].drop_nulls().ge(0).all() for column in INTEGER_COLUMNS if column != "I2"
    )


@pytest.mark.skipif(not REAL_ROWS.exists(), reason="needs the real Criteo rows")
def test_marginals_are_the_real_ones() -> None:
    with gzip.open(REAL_ROWS) as file:
        real = read_frame(file.read())
    ours = read_frame(text(len(real), seed=11))
    for column in FEATURE_COLUMNS:
        a, b = real[column], ours[column]
        assert b.is_null().mean() == pytest.approx(a.is_null().mean(), abs=0.01), column
        if column in INTEGER_COLUMNS:
            for value in (-1, 0, 1, 3, 10, 30, 100, 1000, 10_000):
                expected = a.drop_nulls().le(value).mean()
                assert b.drop_nulls().le(value).mean() == pytest.approx(expected, abs=0.02), column
        else:
            real_counts, counts = (
                np.array(sorted(Counter(s.drop_nulls()).values())) for s in (a, b)
            )
            assert len(counts) == pytest.approx(len(real_counts), rel=0.12, abs=4), column
            top, top_100 = counts[-1] / counts.sum(), counts[-100:].sum() / counts.sum()
            assert top == pytest.approx(real_counts[-1] / real_counts.sum(), abs=0.01), column
            expected = real_counts[-100:].sum() / real_counts.sum()
            assert top_100 == pytest.approx(expected, abs=0.01), column
            if len(counts) > 10_000:
                singles = (real_counts == 1).sum()
                assert (counts == 1).sum() == pytest.approx(singles, rel=0.1), column
    pairs = [("I1", "I6"), ("I4", "I3"), ("I6", "I7"), ("I3", "C19"), ("C6", "C22")]
    for one, other in pairs:
        rates = [(f[one].is_null() & f[other].is_null()).mean() for f in (real, ours)]
        assert rates[1] == pytest.approx(rates[0], abs=0.01), (one, other)


# --- the teacher ---


def documented_normals(column: int, rows: int) -> np.ndarray:
    key = np.array([int.from_bytes(b"teacher!"), column], dtype=np.uint64)
    raw = np.random.Philox(key=key).random_raw(rows * 5)
    sums = raw.view(np.uint8).reshape(rows, 5, 8).astype(int).sum(axis=2)
    return (sums - 1020) / np.sqrt(43690)


def rank_of(value: str, column: int) -> int:
    """Undo `value_of_rank` and its hexadecimal text."""
    x = int(value[4:] + value[:4], 16)
    x ^= x >> 16
    x = x * pow(0xC2B2AE35, -1, 2**32) % 2**32
    x ^= (x >> 13) ^ (x >> 26)
    x = x * pow(0x85EBCA6B, -1, 2**32) % 2**32
    x ^= x >> 16
    return (x - 0x9E3779B9 * (column + 1)) % 2**32


def documented_effects(column: int, field: str) -> np.ndarray:
    """[5] of a field's text: w, and v of four dimensions, by the words of the docstring."""
    scale = np.array([0.29, 0.148, 0.148, 0.148, 0.148])
    marginal = MARGINALS[FEATURE_COLUMNS[column]]
    if column < 13:
        z = documented_normals(column, 10)
        if not field:
            return scale * z[9]
        upper = min(int(field) - marginal.first + 1, 2**16)
        lower_share = marginal.share_of_first(np.array([upper - 1]))[0] if upper > 1 else 0.0
        share = (lower_share + marginal.share_of_first(np.array([upper]))[0]) / 2
        t = (int(share * 256) + 0.5) / 256
        return scale * [np.interp(t, np.arange(9) / 8, points) for points in z[:9].T]
    ids = min(marginal.size, 8192)
    z = documented_normals(column, ids + 1)
    if not field:
        return scale * z[ids]
    rank = rank_of(field, column)
    if rank >= 8192:
        rank = 4096 + rank % 4096
    return scale * z[rank] / (1 + rank / np.array([300, 20, 20, 20, 20]))


def test_probabilities_follow_the_documented_formula() -> None:
    """From the text of a line alone, with the interaction as an explicit sum over pairs."""
    chunk = next(generate(25, seed=8))
    for line, probability in zip(
        chunk.lines.decode().splitlines(), chunk.probabilities, strict=True
    ):
        fields = line.split("\t")[1:]
        effects = np.array([documented_effects(c, field) for c, field in enumerate(fields)])
        vectors = effects[:, 1:]
        pairs = sum(vectors[i] @ vectors[j] for i in range(39) for j in range(i))
        logit = -2.445 + effects[:, 0].sum() + pairs
        assert probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.25 / 4096 + 1e-6)
