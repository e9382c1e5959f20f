"""The ranks' gradients added up: the same bits with compiled kernels and without."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from criteo_stream.sparse.acceleration import kernels, unaccelerated
from criteo_stream.sparse.merging import merged

TABLE_ROWS = 40
RANKS = st.lists(
    st.lists(st.integers(0, TABLE_ROWS - 1), unique=True).map(sorted), min_size=1, max_size=5
)


def padded(ranks: list[list[int]], seed: int) -> tuple[Tensor, Tensor, list[int]]:
    """Rows and values of every rank; what is behind a rank's own must not count."""
    lengths = [len(rows) for rows in ranks]
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((len(ranks), max(lengths) + 1), 7, dtype=torch.int32)
    for rank, own in enumerate(ranks):
        rows[rank, : len(own)] = torch.tensor(own)
    values = torch.randn(*rows.shape, 3, generator=generator)
    values[torch.rand(values.shape, generator=generator) < 0.1] = -0.0
    return rows, values, lengths


@given(RANKS, st.integers(0, 99), st.integers(1, 4))
def test_values_of_equal_rows_are_added(ranks: list[list[int]], seed: int, threads: int) -> None:
    rows, values, lengths = padded(ranks, seed)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = merged(rows, values, lengths, torch.Size([TABLE_ROWS, 3]))
    finally:
        torch.set_num_threads(before)
    wanted = torch.zeros(TABLE_ROWS, 3)
    for rank, length in enumerate(lengths):
        wanted[rows[rank, :length].long()] += values[rank, :length]
    assert found._indices()[0].tolist() == sorted({row for own in ranks for row in own})
    assert torch.equal(found.to_dense(), wanted)


@pytest.mark.skipif(kernels() is None, reason="numba is not installed")
@given(RANKS, st.integers(0, 99))
def test_kernels_give_the_same_bits(ranks: list[list[int]], seed: int) -> None:
    rows, values, lengths = padded(ranks, seed)
    found = merged(rows, values, lengths, torch.Size([TABLE_ROWS, 3]))
    with unaccelerated():
        wanted = merged(rows, values, lengths, torch.Size([TABLE_ROWS, 3]))
    assert torch.equal(found._indices(), wanted._indices())
    assert found._values().numpy().tobytes() == wanted._values().numpy().tobytes()
