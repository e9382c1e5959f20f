"""A batch's look-ups grouped by table row, and their gradients added up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.sparse.grouping import lookup_gradient

SHAPE = torch.Size([12, 3])


@given(st.lists(st.integers(0, SHAPE[0] - 1), max_size=60), st.integers(0, 100))
def test_gradients_of_a_row_are_added_up(ids: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(len(ids), SHAPE[1], generator=random, dtype=torch.float64)
    found = lookup_gradient(torch.tensor(ids, dtype=torch.int32), values, SHAPE)
    expected = torch.zeros(SHAPE, dtype=torch.float64).index_add_(
        0, torch.tensor(ids).long(), values
    )
    assert found.shape == SHAPE
    assert found.is_coalesced()
    assert found.indices()[0].tolist() == sorted(set(ids))
    torch.testing.assert_close(found.to_dense(), expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_values_are_added_in_their_order(dtype: torch.dtype) -> None:
    """Float sums depend on the order: ranks that add the same values must get the same bits."""
    values = torch.tensor([[1e8], [1.0], [-1e8], [1.0]])
    found = lookup_gradient(torch.tensor([5, 5, 5, 5], dtype=dtype), values, torch.Size([9, 1]))
    assert found.values().item() == ((values[0] + values[1]) + values[2] + values[3]).item()
