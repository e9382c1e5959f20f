"""Row-wise Adam is stock SparseAdam; the schedule; state that survives a checkpoint."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from criteo_stream.models import FM
from criteo_stream.sparse import adam
from criteo_stream.sparse.adam import RowwiseSparseAdam
from criteo_stream.sparse.lookups import embedding_lookup
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.schedule import learning_rate_factor


def random_gradient(
    generator: torch.Generator, rows: int, width: int, dtype: torch.dtype
) -> Tensor:
    count = int(torch.randint(0, rows + 1, (1,), generator=generator))
    indices = torch.randperm(rows, generator=generator)[:count].sort().values
    values = torch.randn(count, width, generator=generator, dtype=dtype)
    return torch.sparse_coo_tensor(
        indices[None], values, (rows, width), is_coalesced=True, check_invariants=True
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
@pytest.mark.parametrize("rows_at_once", [7, 4096])
def test_a_thousand_steps_of_both_agree(
    dtype: torch.dtype, tolerance: float, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adam, "ROWS_AT_ONCE", rows_at_once)
    generator = torch.Generator().manual_seed(0)
    ours = nn.Parameter(torch.randn(50, 5, generator=generator, dtype=dtype))
    stock = nn.Parameter(ours.detach().clone())
    optimizers = (RowwiseSparseAdam([ours], lr=0.01), torch.optim.SparseAdam([stock], lr=0.01))
    for _ in range(1000):
        gradient = random_gradient(generator, 50, 5, dtype)
        for parameter, optimizer in zip((ours, stock), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, stock, rtol=tolerance, atol=tolerance)


def test_either_loads_the_other_s_state() -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    gradients = [random_gradient(generator, 20, 3, torch.float64) for _ in range(40)]
    kinds = (RowwiseSparseAdam, torch.optim.SparseAdam)
    ends = []
    for first in kinds:
        for second in kinds:
            parameter = nn.Parameter(start.clone())
            optimizer = first([parameter], lr=0.05)
            for i, gradient in enumerate(gradients):
                if i == 20:
                    state = copy.deepcopy(optimizer.state_dict())
                    optimizer = second([parameter], lr=0.05)
                    optimizer.load_state_dict(state)
                parameter.grad = gradient.clone()
                optimizer.step()
            ends.append(parameter.detach())
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-10, atol=1e-10)


def test_an_uncoalesced_gradient_is_added_up() -> None:
    ours, stock = (nn.Parameter(torch.ones(4, 2)) for _ in range(2))
    gradient = torch.sparse_coo_tensor(
        [[3, 1, 3]], torch.tensor([[1.0, 2], [3, 4], [5, 6]]), (4, 2), check_invariants=True
    )
    for parameter, kind in ((ours, RowwiseSparseAdam), (stock, torch.optim.SparseAdam)):
        parameter.grad = gradient.clone()
        kind([parameter], lr=0.1).step()
    torch.testing.assert_close(ours, stock)


def test_an_empty_gradient_counts_a_step_as_the_stock_does() -> None:
    parameter = nn.Parameter(torch.ones(4, 2))
    parameter.grad = torch.sparse_coo_tensor(
        torch.empty(1, 0, dtype=torch.long), torch.empty(0, 2), (4, 2)
    )
    optimizer = RowwiseSparseAdam([parameter])
    optimizer.step()
    assert optimizer.state[parameter]["step"] == 1
    assert torch.equal(parameter, torch.ones(4, 2))


def test_l2_applies_to_looked_up_rows_once_a_step() -> None:
    weight = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    parameter = nn.Parameter(weight.clone())
    l2 = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    ids = torch.tensor([[1, 1, 3]], dtype=torch.int32)
    embedding_lookup(parameter, ids).sum().backward()
    RowwiseSparseAdam([parameter], lr=0.1, l2=l2).step()

    expected = nn.Parameter(weight.clone())
    rows = torch.tensor([1, 3])
    values = torch.tensor([[2.0], [1.0]], dtype=torch.float64) + l2 * weight[rows]
    expected.grad = torch.sparse_coo_tensor(rows[None], values, (4, 3), check_invariants=True)
    torch.optim.SparseAdam([expected], lr=0.1).step()
    torch.testing.assert_close(parameter, expected)


def test_optimizers_continue_from_their_tensors() -> None:
    def steps(model: FM, optimizers: Optimizers, first: int, last: int) -> None:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            x_num = torch.rand(8, 13, generator=generator)
            x_cat = torch.randint(0, 5, (8, 26), generator=generator, dtype=torch.int32)
            model(x_num, x_cat).sigmoid().sum().backward()
            optimizers.set_learning_rate(0.01)
            optimizers.step()
            optimizers.zero_grad()

    torch.manual_seed(0)
    whole = FM(13, [5] * 26, 4)
    start = {n: t.clone() for n, t in whole.state_dict().items()}
    optimizers = Optimizers(whole, l2_embedding=1e-3)
    steps(whole, optimizers, 0, 20)

    first = FM(13, [5] * 26, 4)
    first.load_state_dict(start)
    half = Optimizers(first, l2_embedding=1e-3)
    steps(first, half, 0, 10)
    saved = {n: t.clone() for n, t in half.state_tensors().items()}
    second = FM(13, [5] * 26, 4)
    second.load_state_dict(first.state_dict())
    other = Optimizers(second, l2_embedding=1e-3)
    other.load_state_tensors(saved)
    steps(second, other, 10, 20)

    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    for name, tensor in optimizers.state_tensors().items():
        assert torch.equal(tensor, other.state_tensors()[name]), name


@given(st.integers(1, 500), st.data())
def test_the_rate_rises_then_falls_towards_zero(total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    factors = [learning_rate_factor(step, total, warmup) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert factors[warmup] == 1
    assert learning_rate_factor(total, total, warmup) == 0
