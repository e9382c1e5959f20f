"""Compiled kernels give the bits of PyTorch's operations, and nothing needs them."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.models import FFM, FM, BilinearFFM, DeepFM, FiBiNET
from criteo_stream.models.field_model import FieldModel
from criteo_stream.sparse import adam
from criteo_stream.sparse.acceleration import kernels, run, unaccelerated
from criteo_stream.sparse.adam import RowwiseSparseAdam
from criteo_stream.sparse.grouping import Groups, lookup_gradient
from criteo_stream.sparse.lookups import embedding_sums
from criteo_stream.train.optimizers import Optimizers

pytest.importorskip("numba")

_LAST = 2**31 - 1

columns = st.lists(
    st.tuples(
        st.integers(0, 3) | st.integers(0, 2**28),  # ids below that the column leaves out
        st.integers(1, 5) | st.integers(1, 2**26),  # its ids
    ),
    min_size=1,
    max_size=7,
)


@pytest.fixture(autouse=True, scope="module")
def way() -> str:
    """Both ways are compared here, so that running twice would say nothing more."""
    return "both"


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def batch_of(sizes: list[tuple[int, int]], rows: int, seed: int, dtype: torch.dtype) -> Tensor:
    """Ids [rows, columns] of ascending ranges; the ends of each range are likely."""
    generator = torch.Generator().manual_seed(seed)
    drawn, first = [], 0
    for gap, size in sizes:
        ids = torch.randint(0, size, (rows,), generator=generator)
        kind = torch.randint(0, 4, (rows,), generator=generator)
        drawn.append(first + gap + torch.where(kind == 0, 0, torch.where(kind == 1, size - 1, ids)))
        first += gap + size
    return torch.stack(drawn, dim=1).to(dtype)


def assert_same_groups(ids: Tensor) -> None:
    found = Groups.of(ids, ascending_columns=True)
    with unaccelerated():
        expected = Groups.of(ids, ascending_columns=True)
        places = expected.places(len(ids))
    assert expected.known_places is None
    for name in ("rows", "starts", "members"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name
    assert torch.equal(found.places(len(ids)), places)
    assert found.column_bounds(len(ids)) == expected.column_bounds(len(ids))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@settings(max_examples=150)
@given(columns, st.integers(1, 70), st.integers(0, 2**31))
@example([(_LAST, 1)], 3, 0)  # the last id, all equal
@example([(0, 1), (_LAST - 1, 1)], 5, 0)
@example([(0, 2**31)], 40, 0)  # as wide as can be
def test_groups(dtype: torch.dtype, sizes: list[tuple[int, int]], rows: int, seed: int) -> None:
    assert_same_groups(batch_of(sizes, rows, seed, dtype))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("width", [1, 15, 16, 17, 39])
def test_groups_of_many_look_ups(width: int) -> None:
    sizes = [(0, 10**6) if column % 3 else (0, 7) for column in range(width)]
    ids = batch_of(sizes, 5000, 0, torch.int32)
    assert Groups.of(ids, ascending_columns=True).known_places is not None
    assert_same_groups(ids)


@given(st.lists(st.integers(0, 50), max_size=80), st.integers(0, 9))
def test_gradients_of_look_ups(ids: list[int], seed: int) -> None:
    values = torch.randn(len(ids), 3, generator=torch.Generator().manual_seed(seed))
    given_ids, shape = torch.tensor(ids, dtype=torch.int32), torch.Size([51, 3])
    found = lookup_gradient(given_ids, values, shape)
    with unaccelerated():
        expected = lookup_gradient(given_ids, values, shape)
    assert_same_gradients(found, expected)


def assert_same_gradients(one: Tensor | None, other: Tensor | None) -> None:
    assert one is not None
    assert other is not None
    assert one.is_coalesced() == other.is_coalesced()
    if one.is_sparse:
        assert torch.equal(one._indices(), other._indices())
        one, other = one._values(), other._values()
    assert torch.equal(one, other)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.just(0), st.integers(1, 30)), min_size=1, max_size=6),
    st.integers(0, 50),  # rows
    st.integers(0, 2),  # linear columns
    st.integers(1, 40),  # length of the vectors
    st.integers(0, 2**31),
)
def test_sums(sizes: list[tuple[int, int]], rows: int, linear: int, k: int, seed: int) -> None:
    length = sum(size for _, size in sizes)
    ids = batch_of(sizes, rows, seed, torch.int32)
    weight = torch.randn(length, linear + k, generator=torch.Generator().manual_seed(seed))

    def both() -> tuple[Tensor, Tensor, Tensor]:
        table = weight.clone().requires_grad_()
        sums, squares = embedding_sums(
            table, ids, torch.zeros(length, 1), linear, ascending_columns=True
        )
        (sums.sin().sum() + squares.cos().sum()).backward()
        assert table.grad is not None
        return sums, squares, table.grad

    *found, gradient = both()
    with unaccelerated():
        *expected, expected_gradient = both()
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert_same_gradients(gradient, expected_gradient)


@settings(max_examples=100)
@given(
    st.integers(1, 300),  # rows of the table
    st.integers(1, 40),  # its width
    st.sampled_from([None, 0.01, "each"]),
    st.sampled_from([1e-8, 1e-4]),
    st.integers(0, 2**31),
)
def test_adam(length: int, width: int, l2: float | str | None, eps: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(length, width, generator=generator)
    penalty = torch.rand(width, generator=generator) if l2 == "each" else torch.tensor(l2 or 0.0)
    gradients = []
    for scale in (1.0, 1e-12, 1e12, 0.0):
        count = int(torch.randint(0, length + 1, (1,), generator=generator))
        rows = torch.randperm(length, generator=generator)[:count].sort().values
        values = scale * torch.randn(count, width, generator=generator)
        gradients.append(
            torch.sparse_coo_tensor(
                rows[None], values, start.shape, is_coalesced=True, check_invariants=False
            )
        )

    def updated() -> list[Tensor]:
        parameter = nn.Parameter(start.clone())
        optimizer = RowwiseSparseAdam([parameter], lr=0.01, eps=eps, l2=penalty)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        state = optimizer.state[parameter]
        return [parameter.detach(), state["exp_avg"], state["exp_avg_sq"]]

    found = updated()
    with unaccelerated():
        expected = updated()
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.view(torch.int32), other.view(torch.int32))


def test_adam_on_many_rows(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adam, "ROWS_AT_ONCE", 999)
    start = torch.randn(20_000, 17, generator=torch.Generator().manual_seed(threads))
    rows = torch.arange(0, 20_000, 2)
    ends = []
    for way in (nullcontext(), unaccelerated()):
        parameter = nn.Parameter(start.clone())
        parameter.grad = torch.sparse_coo_tensor(
            rows[None], start[rows], start.shape, is_coalesced=True, check_invariants=False
        )
        with way:
            RowwiseSparseAdam([parameter]).step()
        ends.append(parameter.detach())
    assert torch.equal(*ends)


SIZES = [50, 3, 400, 1, 7, 2000]
MODELS: dict[str, Callable[[], nn.Module]] = {
    "fm": lambda: FM(3, SIZES, 5),
    "fm of classes": lambda: FM(3, SIZES, 5, n_classes=3),
    "ffm": lambda: FieldModel(3, SIZES, 4, FFM(9, 4)),
    "bilinear": lambda: FieldModel(3, SIZES, 4, BilinearFFM(9, 4)),
    "deepfm": lambda: FieldModel(3, SIZES, 4, DeepFM(9, 4)),
    "fibinet": lambda: FieldModel(3, SIZES, 4, FiBiNET(9, 4)),
}


def trained(model: nn.Module, steps: int = 12) -> dict[str, Tensor]:
    """Weights and moments of a fixed run."""
    optimizers = Optimizers(model, l2_linear=1e-4, l2_embedding=1e-3, epsilon=1e-4)
    optimizers.set_learning_rate(0.01)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        rows = (300, 1, 64)[step % 3]
        x_num = torch.rand(rows, 3, generator=generator)
        x_num[x_num < 0.1] = torch.nan
        x_cat = torch.stack(
            [torch.randint(0, size, (rows,), generator=generator) for size in SIZES], dim=1
        ).int()
        logits = model(x_num, x_cat)
        label = torch.randint(0, 2, logits.shape, generator=generator).float()
        loss = F.binary_cross_entropy_with_logits(logits, label)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizers.step()
        optimizers.zero_grad()
    return dict(model.state_dict()) | optimizers.state_tensors()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", MODELS)
def test_training(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    other = copy.deepcopy(model)
    found = trained(model)
    with unaccelerated():
        expected = trained(other)
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        assert torch.equal(tensor, expected[key]), key


def test_what_the_kernels_do_not_take_is_left_to_pytorch() -> None:
    assert kernels(torch.zeros(2)) is not None
    assert kernels(torch.zeros(2, dtype=torch.float64)) is None
    assert kernels(torch.zeros(2), torch.zeros(2, 2).t()[:1]) is None
    assert kernels(torch.zeros(2, device="meta")) is None
    with unaccelerated():
        assert kernels() is None
    assert kernels() is not None


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("wrong", [-1, 5])
def test_a_row_outside_of_the_table_is_refused(wrong: int) -> None:
    ids = torch.tensor([[1], [wrong]], dtype=torch.int32)
    with pytest.raises(IndexError):
        embedding_sums(torch.zeros(5, 3), ids, torch.zeros(5, 1), ascending_columns=True)
    parameter = nn.Parameter(torch.zeros(5, 3))
    parameter.grad = torch.sparse_coo_tensor(
        torch.tensor([[1, wrong]]), torch.ones(2, 3), (5, 3), is_coalesced=True,
        check_invariants=False,
    )  # fmt: skip
    with pytest.raises(IndexError):
        RowwiseSparseAdam([parameter]).step()


def test_an_error_of_a_helper_is_not_lost() -> None:
    def kernel(control: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(kernel, 5)


_PROBE = """
import sys
{before}
import torch
from criteo_stream.sparse.acceleration import kernels
from criteo_stream.sparse.grouping import Groups
groups = Groups.of(torch.tensor([[3, 7], [3, 9]], dtype=torch.int32), ascending_columns=True)
assert groups.rows.tolist() == [3, 7, 9], groups
assert groups.members.tolist() == [0, 1, 0, 1], groups
print(kernels() is not None)
"""


def probe(before: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PROBE.format(before=before)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("missing", ["numba", "llvmlite"])
def test_without_numba_pytorch_does_the_work(missing: str) -> None:
    assert probe(f"sys.modules[{missing!r}] = None") == "False"


def test_where_nothing_can_be_kept_kernels_are_compiled_all_the_same() -> None:
    refused = "import os; os.access = lambda *a: False"
    assert probe(refused, **{"NUMBA_CACHE_DIR": ""}) == "True"


def test_a_forked_process_has_helpers_of_its_own() -> None:
    before = (
        "import torch; torch.set_num_threads(2)\n"
        "from criteo_stream.sparse.acceleration import run\n"
        "import os, threading\n"
        "seen = set()\n"
        "def kernel(control): seen.add(threading.get_ident()); __import__('time').sleep(.05)\n"
        "run(kernel, 2)\n"
        "assert len(seen) == 2\n"
        "if child := os.fork():\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "else:\n"
        "    seen.clear(); run(kernel, 2); os._exit(len(seen) != 2)\n"
    )
    assert probe(before) == "True"
