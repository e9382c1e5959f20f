"""The fused kernels are the reference, up to the order of sums, and repeat bit for bit."""

import math
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from criteo_stream.sparse import fused
from criteo_stream.sparse.adam import RowwiseSparseAdam
from criteo_stream.sparse.deferred import defer, deferred
from criteo_stream.sparse.fused import AdamState, LookupGradient, Tuning
from criteo_stream.sparse.lookups import embedding_sums, field_embeddings

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

pytestmark = [
    pytest.mark.gpu
    if DEVICE.type == "cuda"
    else pytest.mark.skipif(
        not fused.is_available(DEVICE),
        reason="needs a GPU, or Triton and TRITON_INTERPRET=1",
    )
]

EXAMPLES = 25 if DEVICE.type == "cpu" else 6
"""On a GPU most examples are compiled first."""
SMALL = Tuning(tile=4, elements=16, span_tiles=2, heads=2)
"""So that few look-ups go over many tiles and programs."""


class Lookups:
    """A table and the look-ups of a batch, with what comes back to them."""

    def __init__(self, ids: Tensor, rows: int, linear: int, dim: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        batch = len(ids)
        self.ids, self.linear = ids.to(DEVICE), linear
        self.weight = torch.randn(rows, linear + dim, generator=generator).to(DEVICE)
        self.sums = torch.randn(batch, linear + dim, generator=generator).to(DEVICE)
        self.squares = torch.randn(batch, generator=generator).to(DEVICE)
        self.l2 = torch.rand(linear + dim, generator=generator).to(DEVICE)

    def reference(self, steps: int = 2) -> tuple[Tensor, ...]:
        weight = nn.Parameter(self.weight.double())
        optimizer = RowwiseSparseAdam([weight], lr=0.01, l2=self.l2.double())
        scratch = weight.new_zeros(len(weight), 1)
        for _ in range(steps):
            sums, squares = embedding_sums(weight, self.ids, scratch, self.linear)
            torch.autograd.backward([sums, squares], [self.sums.double(), self.squares.double()])
            optimizer.step()
            optimizer.zero_grad()
        state = optimizer.state[weight]
        return weight.detach(), state["exp_avg"], state["exp_avg_sq"]

    def fused(self, steps: int = 2, tuning: Tuning = SMALL) -> tuple[Tensor, ...]:
        weight = self.weight.clone()
        moments = torch.zeros_like(weight), torch.zeros_like(weight)
        gradient = LookupGradient(
            self.ids, self.sums[:, : self.linear], self.sums[:, self.linear :], self.squares
        )
        for step in range(1, steps + 1):
            size = torch.full((1,), -0.01 * math.sqrt(1 - 0.999**step) / (1 - 0.9**step))
            state = AdamState(weight, *moments, self.l2, size.to(DEVICE), (0.9, 0.999), 1e-8)
            fused.update(gradient, state, tuning)
        return weight, *moments


def assert_alike(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-4, atol=2e-5)


@st.composite
def lookups(draw: st.DrawFn) -> Lookups:
    rows, batch, columns = (
        draw(st.integers(1, 12)),
        draw(st.integers(1, 24)),
        draw(st.integers(1, 5)),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 20)))
    # The last ids are no row of the table: they pad.
    known = draw(st.sampled_from((rows, rows + 3)))
    ids = torch.randint(0, known, (batch, columns), generator=generator, dtype=torch.int32)
    return Lookups(ids, rows, draw(st.integers(1, 3)), draw(st.sampled_from((0, 1, 3, 8))))


def without_padding(case: Lookups) -> Lookups:
    """The same in a table that has the rows beyond, too."""
    more = int(case.ids.max()) + 1 - len(case.weight)
    if more > 0:
        none = case.weight.new_zeros(more, case.weight.shape[1])
        case.weight = torch.cat([case.weight, none])
    return case


@given(lookups())
@settings(max_examples=EXAMPLES)
def test_sums_are_the_reference(case: Lookups) -> None:
    sums, squares = fused.lookup_sums(case.weight, case.ids, case.linear, SMALL)
    whole = without_padding(case).weight.double()
    scratch = whole.new_zeros(len(whole), 1)
    expected = embedding_sums(whole, case.ids, scratch, case.linear)
    assert_alike((sums, squares), expected)


@given(lookups())
@settings(max_examples=EXAMPLES)
def test_the_update_is_the_reference(case: Lookups) -> None:
    rows = len(case.weight)
    found = case.fused()
    assert_alike(found, tuple(t[:rows] for t in without_padding(case).reference()))


@given(lookups())
@settings(max_examples=5)
def test_bits_repeat(case: Lookups) -> None:
    for first, second in zip(case.fused(), case.fused(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 500])
def test_a_row_that_every_batch_row_looks_up(batch: int) -> None:
    hot = torch.tensor([[0, 1 + b % 2, 3 + b % 7] for b in range(batch)], dtype=torch.int32)
    case = Lookups(hot, 10, 1, 4)
    for tuning in (SMALL, fused.TUNING):
        assert_alike(case.fused(tuning=tuning), case.reference())


def test_rows_that_are_not_looked_up_keep_their_bits() -> None:
    case = Lookups(torch.tensor([[1, 5], [1, 6]], dtype=torch.int32), 9, 1, 4)
    weight, mean, square = case.fused()
    others = [0, 2, 3, 4, 7, 8]
    assert torch.equal(weight[others], case.weight[others])
    assert not mean[others].any()
    assert not square[others].any()


def test_nothing_but_padding() -> None:
    case = Lookups(torch.full((3, 2), 4, dtype=torch.int32), 4, 1, 2)
    weight, mean, _ = case.fused()
    assert torch.equal(weight, case.weight)
    assert not mean.any()
    sums, squares = fused.lookup_sums(case.weight, case.ids, 1)
    assert not sums.any()
    assert not squares.any()


def test_no_look_ups() -> None:
    case = Lookups(torch.empty(0, 3, dtype=torch.int32), 4, 1, 2)
    assert torch.equal(case.fused()[0], case.weight)
    sums, squares = fused.lookup_sums(case.weight, case.ids, 1)
    assert (sums.shape, squares.shape) == ((0, 3), (0,))


def trained(weight: nn.Parameter, batches: list[Tensor], fields: int) -> tuple[Tensor, ...]:
    """Weights and moments after steps by autograd; with ``fields``, on every field's vector."""
    optimizer = RowwiseSparseAdam([weight], lr=0.01, l2=0.01)
    scratch = weight.new_zeros(len(weight), 1)
    for ids in batches:
        if fields:
            values = torch.linspace(0, 1, len(ids) * 2, device=DEVICE).view(-1, 2)
            numbers = torch.full((2, weight.shape[1]), 0.5, device=DEVICE)
            sums, vectors = field_embeddings(weight, ids, 1, fields, numbers, values)
            loss = sums.square().sum() + (vectors.cumsum(1).sin()).sum()
        else:
            sums, squares = embedding_sums(weight, ids, scratch, 1)
            loss = (sums.sin().sum(1) * squares).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    state = optimizer.state[weight]
    assert state["step"] == len(batches)
    return weight.detach(), state["exp_avg"], state["exp_avg_sq"]


@pytest.mark.parametrize(("fields", "dim"), [(0, 4), (3, 4), (5, 4), (5, 0)])
def test_a_deferred_gradient_is_the_reference(fields: int, dim: int) -> None:
    generator = torch.Generator().manual_seed(5)
    start = torch.randn(30, 1 + dim, generator=generator)
    offsets = torch.tensor([0, 10, 20], dtype=torch.int32)
    batches = [
        (torch.randint(0, 10, (40, 3), generator=generator, dtype=torch.int32) + offsets).to(DEVICE)
        for _ in range(3)
    ]
    ours = nn.Parameter(start.clone().to(DEVICE))
    theirs = nn.Parameter(start.clone().to(DEVICE))
    defer(ours)
    found = trained(ours, batches, fields)
    assert ours.grad is None
    expected = trained(theirs, batches, fields)
    assert_alike(found, tuple(t.double() for t in expected))


def test_a_copy_is_not_deferred() -> None:
    weight = nn.Parameter(torch.zeros(2, 2, device=DEVICE))
    defer(weight)
    assert deferred(nn.Parameter(weight.detach().clone())) is None
    assert deferred(weight) is not None


def test_without_the_interpreter_there_is_nothing_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(os.environ, "TRITON_INTERPRET", raising=False)
    assert not fused.is_available(torch.device("cpu"))
