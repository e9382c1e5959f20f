"""Which rows of the table are whose, and what a batch looks up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.errors import UsageError
from criteo_stream.models.field_table import FieldLayout, FieldTable
from criteo_stream.models.inputs import FieldInputs

LAYOUTS = st.builds(
    FieldLayout,
    st.lists(st.integers(1, 50), min_size=1, max_size=6).map(tuple),
    st.integers(0, 4),
    st.integers(0, 8),
)


@given(LAYOUTS)
def test_columns_share_out_the_table(layout: FieldLayout) -> None:
    """Each row is of one column, and the columns follow one another without a gap."""
    ends = [start + size for start, size in zip(layout.offsets, layout.sizes, strict=True)]
    assert [0, *ends] == [*layout.offsets, layout.rows]
    assert layout.category_offsets + layout.bin_offsets == layout.offsets
    assert len(layout.category_offsets) == len(layout.categories)
    assert len(layout.bin_offsets) == (layout.numeric_columns if layout.bins else 0)


@given(LAYOUTS, st.data())
def test_a_row_s_field_is_the_column_that_looks_it_up(
    layout: FieldLayout, data: st.DataObject
) -> None:
    column = data.draw(st.integers(0, len(layout.sizes) - 1))
    local = data.draw(st.integers(0, layout.sizes[column] - 1))
    row = torch.tensor([layout.offsets[column] + local])
    assert layout.fields_of_rows(row) == [layout.fields[column]]


def test_bins_are_equal_and_the_last_is_for_missing_values() -> None:
    layout = FieldLayout((3,), 1, 4)
    quantiles = torch.tensor([[0.0], [0.24], [0.25], [0.99], [1.0], [torch.nan]])
    assert layout.bin_of(quantiles).squeeze(1).tolist() == [0, 0, 1, 3, 3, 4]


def test_numbers_outside_of_the_quantiles_stay_in_their_column() -> None:
    outside = torch.tensor([[-0.5], [-torch.inf], [1e9], [torch.inf]])
    assert FieldLayout((3,), 1, 4).bin_of(outside).squeeze(1).tolist() == [0, 0, 3, 3]


def test_a_batch_looks_up_its_own_columns() -> None:
    table = FieldTable(FieldLayout((3, 5), 2, 4), 1, 2)
    x_num, x_cat = torch.tensor([[0.0, torch.nan]]), torch.tensor([[2, 4]], dtype=torch.int32)
    assert table.rows_of(x_num, x_cat).tolist() == [[2, 3 + 4, 8 + 0, 13 + 4]]
    plain = FieldTable(FieldLayout((3, 5), 2, 0), 1, 2)
    assert plain.rows_of(x_num, x_cat).tolist() == [[2, 7]]


def test_a_missing_number_is_imputed_and_told() -> None:
    inputs = FieldInputs(2, [3], 4, numeric="both", bins=2, numeric_mean=[0.25, 0.75])
    x_num = torch.tensor([[torch.nan, 0.5], [0.1, torch.nan]])
    values, missing, rows = inputs.read(x_num, torch.tensor([[0], [2]], dtype=torch.int32))
    torch.testing.assert_close(values, torch.tensor([[0.25, 0.5], [0.1, 0.75]]))
    assert missing.tolist() == [[True, False], [False, True]]
    assert rows.tolist() == [[0, 3 + 2, 6 + 1], [2, 3 + 0, 6 + 2]]


@pytest.mark.parametrize(("last", "fits"), [(2**31 - 2, True), (2**31 - 1, False)])
def test_the_table_is_as_long_as_32_bits_count(last: int, fits: bool) -> None:
    if fits:
        assert FieldLayout((1, last)).rows == 2**31 - 1
    else:
        with pytest.raises(UsageError, match="at most 2,147,483,647 fit"):
            FieldLayout((1, last))
