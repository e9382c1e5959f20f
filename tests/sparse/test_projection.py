"""Sums by distinct ids equal the sums over all vectors, and so do their gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.sparse.gradients import keep_coalesced
from criteo_stream.sparse.projection import field_sums

shapes = st.tuples(
    st.integers(1, 9),  # rows of the batch
    st.integers(1, 4),  # categorical columns
    st.integers(1, 3),  # numeric columns
    st.integers(1, 4),  # ids a column
    st.integers(1, 4),  # length of the vectors
    st.integers(1, 3),  # linear columns
    st.sampled_from([1, 2, 5, 64, 65, 130]),  # width of the projection
    st.integers(0, 2**31),  # seed
)


def plain_sums(
    looked_up: Tensor,
    linear: int,
    projection: Tensor,
    numeric_weight: Tensor | None,
    values: Tensor,
) -> list[Tensor]:
    """By the definition, of all rows laid out."""
    fields = len(projection)
    rows = torch.zeros(len(values), fields, looked_up.shape[2], dtype=values.dtype)
    rows = rows + F.pad(looked_up, (0, 0, 0, fields - looked_up.shape[1]))
    if numeric_weight is not None:
        added = values.unsqueeze(2) * numeric_weight
        rows = rows + F.pad(added, (0, 0, fields - added.shape[1], 0))
    vectors = rows[..., linear:]
    return [
        rows[..., :linear].sum(1),
        vectors.sum(1),
        vectors.square().sum(1),
        torch.einsum("bfk,fkh->bh", vectors, projection),
    ]


@pytest.mark.parametrize("numeric", ["value", "bins", "both"])
@settings(max_examples=60)
@given(shapes)
def test_sums_and_gradients_equal_the_definition(numeric: str, shape: tuple[int, ...]) -> None:
    batch, categorical, numbers, size, k, linear, width, seed = shape
    generator = torch.Generator().manual_seed(seed)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    fields = categorical + numbers
    columns = categorical if numeric == "value" else fields
    ids = torch.randint(0, size, (batch, columns), generator=generator, dtype=torch.int32)
    ids += torch.arange(columns, dtype=torch.int32) * size
    table = nn.Embedding(columns * size, linear + k, sparse=True, dtype=torch.float64)
    keep_coalesced(table.weight)
    projection = draw(fields, k, width).requires_grad_()
    numeric_weight = None if numeric == "bins" else draw(numbers, linear + k).requires_grad_()
    values = draw(batch, numbers)
    factors = [draw(batch, n) for n in (linear, k, k, width)]

    found = field_sums(table.weight, ids, linear, projection, numeric_weight, values)
    parameters = [projection, *([] if numeric_weight is None else [numeric_weight])]
    _total(found, factors).backward()
    gradients = [p.grad for p in parameters]
    sparse = table.weight.grad
    assert sparse is not None
    assert sparse.is_coalesced()
    assert sparse.indices()[0].tolist() == sorted(set(ids.flatten().tolist()))

    for parameter in parameters:
        parameter.grad = None
    stock = nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=False)
    expected = plain_sums(stock(ids), linear, projection, numeric_weight, values)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    _total(expected, factors).backward()
    torch.testing.assert_close(sparse.to_dense(), stock.weight.grad, rtol=1e-10, atol=1e-10)
    for gradient, parameter in zip(gradients, parameters, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-10, atol=1e-10)


def _total(sums: tuple[Tensor, ...] | list[Tensor], factors: list[Tensor]) -> Tensor:
    """Some number of them that every one has its own gradient in."""
    return torch.stack(
        [(one.sin() * factor).sum() for one, factor in zip(sums, factors, strict=True)]
    ).sum()
