from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import QuantileTransformer

from criteo_stream.prepare.counts import sortable
from criteo_stream.prepare.quantiles import (
    FastTransform,
    FittedColumn,
    QuantileTable,
    build_table,
    open_table,
    read_tables,
    write_table,
    write_tables,
)

INTEGERS = st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 30)


def table_of(values: np.ndarray, *, parts: int = 1, exact_values: int = 1 << 20) -> QuantileTable:
    distinct, counts = np.unique(sortable(values.astype(np.int32)), return_counts=True)
    cuts = np.array_split(np.arange(len(distinct)), parts)
    pieces = ((distinct[cut], counts[cut].astype(np.int64)) for cut in cuts)
    return build_table(pieces, len(values), exact_values)


def formula(fitted: list[int], x: int) -> float:
    """q(x) = (L + R − 1) / 2 / (n − 1), clipped; as fractions."""
    if x <= min(fitted):
        return 0.0
    if x >= max(fitted):
        return 1.0
    left = sum(value < x for value in fitted)
    right = sum(value <= x for value in fitted)
    return float(Fraction(left + right - 1, 2 * (len(fitted) - 1)))


@given(st.lists(INTEGERS, min_size=1, max_size=60), st.lists(INTEGERS), st.integers(1, 5))
def test_the_transform_is_the_formula(fitted: list[int], asked: list[int], parts: int) -> None:
    table = table_of(np.array(fitted), parts=parts)
    assert table.rank_error == 0
    x = np.array([*asked, *fitted], np.int64)
    expected = [formula(fitted, int(v)) for v in x]
    np.testing.assert_allclose(table.transform(x), expected, rtol=0, atol=1e-15)
    fast = FastTransform(table)(x.astype(np.int32))
    np.testing.assert_array_equal(fast, table.transform(x).astype(np.float32))


@pytest.mark.parametrize("kind", ["skewed", "uniform", "few", "constant"])
def test_fitted_values_map_as_scikit_learn_maps_them(kind: str) -> None:
    random = np.random.default_rng(0)
    fitted = {
        "skewed": (random.pareto(0.8, 3000) * 5).astype(np.int64).clip(0, 10**9),
        "uniform": random.integers(-1000, 1000, 3000),
        "few": random.integers(0, 3, 3000),
        "constant": np.full(3000, 7),
    }[kind]
    column = fitted.reshape(-1, 1).astype(np.float64)
    transformer = QuantileTransformer(n_quantiles=len(fitted), subsample=None).fit(column)
    table = table_of(fitted)
    gap = 0.5 / (len(fitted) - 1)
    theirs = transformer.transform(column)[:, 0]
    np.testing.assert_allclose(table.transform(fitted), theirs, rtol=0, atol=gap + 1e-6)
    # Its percentiles fall beside the values by a rounding error, which costs it half a rank of
    # tied values; with the percentiles in place it gives the same to the last digits.
    transformer.quantiles_ = np.sort(column, axis=0)
    theirs = transformer.transform(column)[:, 0]
    np.testing.assert_allclose(table.transform(fitted), theirs, rtol=0, atol=1e-6)
    # Between fitted values scikit-learn interpolates over a gap of one rank.
    between = np.setdiff1d(np.arange(fitted.min() - 5, min(fitted.max() + 5, 4000)), fitted)
    if len(between):
        theirs = transformer.transform(between.reshape(-1, 1).astype(np.float64))[:, 0]
        np.testing.assert_allclose(table.transform(between), theirs, rtol=0, atol=gap + 1e-6)


@given(st.lists(INTEGERS, min_size=1, max_size=300), st.integers(1, 40), st.integers(1, 4))
def test_a_compressed_table_errs_by_no_more_than_it_states(
    fitted: list[int], exact_values: int, parts: int
) -> None:
    exact = table_of(np.array(fitted))
    table = table_of(np.array(fitted), parts=parts, exact_values=exact_values)
    x = np.array([*fitted, *(v + 1 for v in fitted)], np.int64)
    error = np.abs(table.transform(x) - exact.transform(x))
    assert error.max() <= table.rank_error + 1e-12
    if len(set(fitted)) <= exact_values:
        assert table.rank_error == 0
    assert table.transform(np.array([min(fitted), max(fitted)]))[0] == 0


def test_compression_keeps_tables_small_and_the_error_as_promised() -> None:
    random = np.random.default_rng(1)
    fitted = (random.pareto(0.3, 200_000) * 50).clip(0, 2e9).astype(np.int64)
    exact = table_of(fitted)
    assert len(exact.values) > 40_000
    table = table_of(fitted, parts=7, exact_values=1000)
    assert len(table.values) <= 2 * 1000 + 2
    assert 0 < table.rank_error <= 0.5 / 1000 * 1.001
    error = np.abs(table.transform(fitted) - exact.transform(fitted)).max()
    assert error <= table.rank_error
    assert np.all(np.diff(table.transform(np.unique(fitted))) >= 0)


def test_parts_do_not_change_a_compressed_table() -> None:
    fitted = np.random.default_rng(2).integers(-5000, 5000, 20_000)
    tables = [table_of(fitted, parts=p, exact_values=500) for p in (1, 2, 77)]
    for table in tables[1:]:
        np.testing.assert_array_equal(table.values, tables[0].values)
        np.testing.assert_array_equal(table.below, tables[0].below)


def test_nothing_fitted_gives_the_middle() -> None:
    table = table_of(np.empty(0, np.int64))
    assert table.transform(np.array([-5, 0, 5])).tolist() == [0.5] * 3
    assert FastTransform(table)(np.array([-5, 5], np.int32)).tolist() == [0.5] * 2
    assert table.rank_error == 0


def test_tables_read_back_as_they_were(tmp_path: Path) -> None:
    columns = {
        "I1": FittedColumn(table=table_of(np.array([3, -2, 3])), mean=4 / 3, missing=7),
        "I2": FittedColumn(table=table_of(np.empty(0, np.int64)), mean=None, missing=2**33),
    }
    write_tables(tmp_path / "q.parquet", columns)
    read = read_tables(tmp_path / "q.parquet", ["I1", "I2"])
    assert list(read) == ["I1", "I2"]
    for name, column in columns.items():
        assert (read[name].mean, read[name].missing) == (column.mean, column.missing)
        for part in ("values", "below", "up_to"):
            np.testing.assert_array_equal(
                getattr(read[name].table, part), getattr(column.table, part)
            )


def test_mapped_tables_are_as_they_were(tmp_path: Path) -> None:
    for fitted in (np.array([3, -2, 3]), np.empty(0, np.int64)):
        table = table_of(fitted)
        write_table(tmp_path / "I1.table", table)
        mapped = open_table(tmp_path / "I1.table")
        for part in ("values", "below", "up_to"):
            np.testing.assert_array_equal(getattr(mapped, part), getattr(table, part))


def test_the_file_of_tables_is_the_one_that_arrow_makes_of_rows(tmp_path: Path) -> None:
    """Its bytes are in the fit's fingerprint: putting it together on disk may not change them."""
    random = np.random.default_rng(5)
    sizes = {"I1": 300_000, "I2": 0, "I3": 1, "I4": 50_000}  # more than a page, and less
    columns = {
        name: FittedColumn(
            table=table_of(random.integers(-(10**9), 10**9, size)),
            mean=0.5 if size else None,
            missing=size,
        )
        for name, size in sizes.items()
    }
    write_tables(tmp_path / "q.parquet", columns)
    written = pq.read_table(tmp_path / "q.parquet")
    lists = ("value", "rows_below", "rows_up_to")
    fields = [f.with_type(pa.list_(pa.int64())) if f.name in lists else f for f in written.schema]
    rows = pa.Table.from_pylist(written.to_pylist(), schema=pa.schema(fields))
    encoding = {f"{name}.list.element": "DELTA_BINARY_PACKED" for name in lists}
    pq.write_table(rows, tmp_path / "rows.parquet", use_dictionary=False, column_encoding=encoding)
    assert (tmp_path / "q.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.parquet", "rows.parquet"]
