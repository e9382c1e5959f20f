"""The sparse path equals plain autograd, and its gradients are coalesced."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.sparse.gradients import coalesced, keep_coalesced
from criteo_stream.sparse.lookups import embedding_lookup, embedding_sums
from criteo_stream.sparse.table import table_zeros

shapes = st.tuples(
    st.integers(0, 9),  # rows of the batch
    st.integers(1, 6),  # fields
    st.integers(1, 12),  # rows of the table
    st.integers(1, 5),  # length of the vectors
    st.integers(0, 3),  # leading linear columns
    st.integers(0, 2**31),  # seed
)


def column_ids(ids: Tensor, rows: int) -> Tensor:
    """Ids such that every column has table rows of its own, in order."""
    columns = ids.shape[1]
    return ids % max(1, rows // columns) + torch.arange(columns, dtype=torch.int32) * (
        rows // columns
    )


def table_and_ids(
    batch: int, fields: int, rows: int, width: int, seed: int, dtype: torch.dtype
) -> tuple[nn.Embedding, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = nn.Embedding(rows, width, sparse=True, dtype=dtype)
    with torch.no_grad():
        table.weight.copy_(torch.randn(rows, width, generator=generator, dtype=dtype))
    keep_coalesced(table.weight)
    ids = torch.randint(0, rows, (batch, fields), generator=generator, dtype=torch.int32)
    return table, ids


@settings(max_examples=150)
@given(shapes)
def test_sums_equal_the_stock_recipe(shape: tuple[int, ...]) -> None:
    batch, fields, rows, k, linear, seed = shape
    table, ids = table_and_ids(batch, fields, rows, linear + k, seed, torch.float64)
    scratch = torch.full((rows, 1), torch.nan, dtype=torch.float64)
    sums, squares = embedding_sums(table.weight, ids, scratch, linear)
    weights = torch.randn(batch, generator=torch.Generator().manual_seed(seed + 1)).double()
    (sums.sin().sum() + (squares * weights).sum()).backward()

    stock = nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=False)
    looked_up = stock(ids.long())
    stock_sums = looked_up.sum(1)
    stock_squares = looked_up[..., linear:].square().sum((1, 2))
    (stock_sums.sin().sum() + (stock_squares * weights).sum()).backward()

    torch.testing.assert_close(sums, stock_sums, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(squares, stock_squares, rtol=1e-10, atol=1e-10)
    gradient = table.weight.grad
    assert gradient is not None
    assert stock.weight.grad is not None
    torch.testing.assert_close(gradient.to_dense(), stock.weight.grad, rtol=1e-10, atol=1e-10)
    assert_valid(gradient, ids)


@settings(max_examples=100)
@given(shapes)
def test_lookup_equals_the_stock_embedding(shape: tuple[int, ...]) -> None:
    batch, fields, rows, k, _, seed = shape
    table, ids = table_and_ids(batch, fields, rows, k, seed, torch.float64)
    looked_up = embedding_lookup(table.weight, ids)
    looked_up.sin().sum().backward()
    stock = nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=False)
    expected = stock(ids.long())
    expected.sin().sum().backward()
    assert torch.equal(looked_up, expected)
    gradient = table.weight.grad
    assert gradient is not None
    assert stock.weight.grad is not None
    torch.testing.assert_close(gradient.to_dense(), stock.weight.grad, rtol=1e-10, atol=1e-10)
    assert_valid(gradient, ids)


def assert_valid(gradient: Tensor, ids: Tensor) -> None:
    assert gradient.is_coalesced()
    rows = gradient.indices()[0]
    assert rows.tolist() == sorted(set(ids.flatten().tolist()))
    # Built again with every check that torch has.
    torch.sparse_coo_tensor(
        gradient.indices(), gradient.values(), gradient.shape, check_invariants=True
    )


@settings(max_examples=100)
@given(shapes)
def test_ascending_columns_change_nothing(shape: tuple[int, ...]) -> None:
    batch, fields, rows, k, linear, seed = shape
    rows *= fields
    table, ids = table_and_ids(batch, fields, rows, linear + k, seed, torch.float64)
    ids = column_ids(ids, rows)
    gradients = []
    for promise in (False, True):
        scratch = torch.zeros(rows, 1, dtype=torch.float64)
        sums, squares = embedding_sums(
            table.weight, ids, scratch, linear, ascending_columns=promise
        )
        (sums.sin().sum() + squares.square().sum()).backward()
        assert table.weight.grad is not None
        gradients.append(table.weight.grad)
        table.weight.grad = None
    assert torch.equal(gradients[0].indices(), gradients[1].indices())
    assert torch.equal(gradients[0].values(), gradients[1].values())


def test_large_batches_are_sorted_in_pieces() -> None:
    table, ids = table_and_ids(16384, 16, 1600, 5, 4, torch.float64)
    ids = column_ids(ids, 1600)
    scratch = torch.zeros(1600, 1, dtype=torch.float64)
    sums, _ = embedding_sums(table.weight, ids, scratch, ascending_columns=True)
    sums.sin().sum().backward()
    stock = nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=False)
    stock(ids.long()).sum(1).sin().sum().backward()
    assert table.weight.grad is not None
    assert stock.weight.grad is not None
    torch.testing.assert_close(table.weight.grad.to_dense(), stock.weight.grad)


def test_float32_is_close_to_float64() -> None:
    table, ids = table_and_ids(512, 39, 3000, 17, 3, torch.float64)
    with torch.no_grad():
        table.weight *= 0.1
    single = nn.Embedding.from_pretrained(table.weight.detach().float(), freeze=False, sparse=True)
    gradients = []
    for weight in (table.weight, single.weight):
        scratch = torch.zeros(3000, 1, dtype=weight.dtype)
        sums, squares = embedding_sums(weight, ids, scratch)
        (sums[:, 0] + (sums[:, 1:].square().sum(1) - squares) / 2).sigmoid().sum().backward()
        assert weight.grad is not None
        gradients.append(weight.grad.to_dense().double())
    scale = gradients[0].abs().max().item()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-6 * scale)


def test_gradcheck() -> None:
    table, ids = table_and_ids(4, 3, 5, 3, 0, torch.float64)
    scratch = torch.zeros(5, 1, dtype=torch.float64)

    def dense(weight: Tensor) -> Tensor:
        # gradcheck wants dense gradients: an addition in between makes them so.
        sums, squares = embedding_sums(_Densified.apply(weight), ids, scratch)  # type: ignore[no-untyped-call]
        return sums.sin().sum(1) + squares

    assert torch.autograd.gradcheck(dense, (table.weight.detach().requires_grad_(),))


class _Densified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, weight: Tensor) -> Tensor:
        return weight.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.to_dense()


def test_using_a_table_twice_adds_up() -> None:
    table, ids = table_and_ids(6, 3, 7, 4, 1, torch.float64)
    scratch = torch.zeros(7, 1, dtype=torch.float64)
    sums, squares = embedding_sums(table.weight, ids, scratch)
    (sums.sum() + squares.sum() + embedding_lookup(table.weight, ids).sum()).backward()
    stock = nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=False)
    rows = stock(ids.long())
    (2 * rows.sum() + rows[..., 1:].square().sum()).backward()
    gradient = table.weight.grad
    assert gradient is not None
    assert stock.weight.grad is not None
    torch.testing.assert_close(gradient.to_dense(), stock.weight.grad)
    assert gradient.is_coalesced()


def test_stock_sparse_adam_accepts_the_gradient() -> None:
    table, ids = table_and_ids(8, 4, 20, 5, 2, torch.float32)
    before = table.weight.detach().clone()
    sums, squares = embedding_sums(table.weight, ids, torch.zeros(20, 1))
    F.softplus(sums.sum(1) - squares).sum().backward()
    torch.optim.SparseAdam([table.weight], lr=0.1).step()
    moved = (table.weight.detach() != before).any(1).nonzero().flatten().tolist()
    assert moved == sorted(set(ids.flatten().tolist()))


def test_table_zeros_are_plain_zeros() -> None:
    for dtype in (torch.float32, torch.float64):
        zeros = table_zeros(5, 3, dtype)
        assert torch.equal(zeros, torch.zeros(5, 3, dtype=dtype))
        assert zeros.add_(1).sum() == 15
    with torch.device("meta"):
        assert table_zeros(2**40, 3).shape == (2**40, 3)


def test_coalesced_only_works_where_it_must() -> None:
    ascending = torch.sparse_coo_tensor([[1, 4]], torch.ones(2, 3), (6, 3), check_invariants=True)
    assert coalesced(ascending)._values().data_ptr() == ascending._values().data_ptr()
    twice = torch.sparse_coo_tensor([[4, 4]], torch.ones(2, 3), (6, 3), check_invariants=True)
    assert coalesced(twice).values().tolist() == [[2.0, 2.0, 2.0]]


@pytest.mark.gpu
def test_the_same_on_a_gpu() -> None:
    table, ids = table_and_ids(64, 39, 500, 17, 5, torch.float64)
    gradients = []
    for device in ("cpu", "cuda"):
        weight = table.weight.detach().to(device).requires_grad_()
        sums, squares = embedding_sums(
            weight, ids.to(device), torch.zeros(500, 1, dtype=torch.float64, device=device)
        )
        (sums.sin().sum() + squares.sum()).backward()
        assert weight.grad is not None
        gradients.append(weight.grad.to_dense().cpu())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)
