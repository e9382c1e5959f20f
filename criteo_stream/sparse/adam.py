"""Row-wise Adam: the update of ``torch.optim.SparseAdam`` on coalesced gradients."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor, nn

from criteo_stream.sparse.acceleration import Kernels, kernels, run
from criteo_stream.sparse.deferred import deferred
from criteo_stream.sparse.gradients import coalesced
from criteo_stream.sparse.table import table_zeros

ROWS_AT_ONCE: Final = 4096
"""Rows to update at once on a CPU: they, their moments and gradient stay in the L2 cache."""


def tables_and_others(model: nn.Module) -> tuple[list[nn.Embedding], list[nn.Parameter]]:
    """The ``nn.Embedding(sparse=True)`` modules of a model, and the parameters of all the rest."""
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse]
    weights = {id(table.weight) for table in tables}
    return tables, [p for p in model.parameters() if id(p) not in weights]


def l2_of(table: nn.Embedding, linear: float, embedding: float) -> Tensor:
    """L2 coefficients [d] of a table's columns, whose ``linear_columns`` come first."""
    l2 = torch.full((table.embedding_dim,), embedding)
    l2[: getattr(table, "linear_columns", 0)] = linear
    return l2


class WithoutCompiler(torch.optim.Optimizer):
    """An optimizer that does not load PyTorch's compiler to tell it that it cannot be compiled.

    That takes a second, and nothing here is compiled by it.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class DenseAdam(WithoutCompiler, torch.optim.Adam):
    """Adam."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class RowwiseSparseAdam(WithoutCompiler, torch.optim.SparseAdam):
    """``torch.optim.SparseAdam`` on coalesced gradients, several times faster.

    The update and the state are the same, so either loads the other's state dict. Rows are
    gathered and written back by their indices, where the original masks and adds sparse tensors.

    Optionally, L2 regularises the rows that a batch looked up, each once a step:
    gradient += l2 · row. (SparseAdam has no weight decay; other rows stay as they are.)

    Args:
        params: tables [N, d] with sparse gradients, or groups of them, as for any optimizer.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the denominator.
        l2: L2 coefficient of looked-up rows: a number, or [d] for one of each table column.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        l2: float | Tensor = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps)
        coefficients = torch.as_tensor(l2)
        self._has_l2 = bool(coefficients.any())
        self._l2 = coefficients.to(self.param_groups[0]["params"][0].device)
        self._is_prepared = False

    def __getstate__(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("_has_l2", "_l2", "_is_prepared")}
        return super().__getstate__() | own

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the rows that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        if not self._is_prepared:
            self.prepare()
        self._is_prepared = False
        for group in self.param_groups:
            for parameter in group["params"]:
                if (update := deferred(parameter)) is not None:
                    assert parameter.grad is None, "look-ups with a gradient of another kind"
                    update.apply(parameter, group, self.state[parameter], self._l2)
                elif parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def prepare(self) -> None:
        """Tell tables with deferred gradients of the next step and its rate.

        `step` does that itself. It is a method so that a step can be captured on a GPU, and
        replayed after each call of it.
        """
        self._is_prepared = True
        for group in self.param_groups:
            for parameter in group["params"]:
                if (update := deferred(parameter)) is not None:
                    update.prepare(parameter, group, self.state[parameter])

    def _update(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        gradient = coalesced(gradient)
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = table_moment(parameter), table_moment(parameter)
        state["step"] += 1
        rows, values = gradient._indices()[0], gradient._values()  # int64 [U], [U, d]
        if not rows.numel():
            return
        beta1, beta2 = group["betas"]
        bias1, bias2 = (1 - beta ** state["step"] for beta in (beta1, beta2))
        rates = _Rates(beta1, beta2, group["eps"], -group["lr"] * math.sqrt(bias2) / bias1)
        moments = state["exp_avg"], state["exp_avg_sq"]
        if compiled := kernels(rows, values, parameter, *moments):
            self._update_compiled(parameter, rows, values, moments, rates, compiled)
            return
        size = ROWS_AT_ONCE if rows.device.type == "cpu" else len(rows)
        for some, theirs in zip(torch.split(rows, size), torch.split(values, size), strict=True):
            self._update_rows(parameter, some, theirs, moments, rates)  # P rows: [P], [P, d]

    def _update_compiled(
        self,
        parameter: Tensor,
        rows: Tensor,
        values: Tensor,
        moments: tuple[Tensor, Tensor],
        rates: "_Rates",
        compiled: Kernels,
    ) -> None:
        """The same on all rows by a compiled kernel; it takes numbers of 32 bits only."""
        width = parameter.shape[1]
        l2 = self._l2.float().expand(width).contiguous() if self._has_l2 else torch.empty(0)
        numbers = (1 - rates.beta1, rates.beta2, 1 - rates.beta2, rates.eps, rates.step_size)
        tables = (tensor.numpy() for tensor in (rows, values, parameter.detach(), *moments, l2))
        tasks = -(-len(rows) // compiled.rows_at_once)
        run(compiled.adam, tasks, *tables, np.array(numbers, np.float32))

    def _update_rows(
        self,
        parameter: Tensor,
        rows: Tensor,
        values: Tensor,
        moments: tuple[Tensor, Tensor],
        rates: "_Rates",
    ) -> None:
        """Adam on P rows: gathered, updated, and written back while they are in the cache.

        Args:
            parameter: the table [N, d].
            rows: int64 [P], unique.
            values: [P, d], their gradient.
            moments: running means of the gradient and of its square, [N, d] each.
            rates: of this step.
        """
        means, squares = moments
        weights = parameter.index_select(0, rows)  # [P, d], as all that follow
        if self._has_l2:
            values = values + weights * self._l2
        # Products and sums are rounded one by one: where `addcmul_` and `lerp_` round depends on
        # the processor.
        mean = means.index_select(0, rows)
        mean += (values - mean).mul_(1 - rates.beta1)
        means.index_copy_(0, rows, mean)
        square = squares.index_select(0, rows).mul_(rates.beta2)
        square += values.square().mul_(1 - rates.beta2)
        squares.index_copy_(0, rows, square)
        denominator = _square_root(square).add_(rates.eps)
        weights.addcdiv_(mean, denominator, value=rates.step_size)
        parameter.index_copy_(0, rows, weights)


def _square_root(squares: Tensor) -> Tensor:
    """The square roots, in place of the numbers.

    On a CPU by NumPy, which rounds correctly: a fifth of PyTorch's are off by a last bit.
    """
    if squares.device.type == "cpu" and squares.dtype in (torch.float32, torch.float64):
        array = squares.numpy()
        np.sqrt(array, out=array)
        return squares
    return squares.sqrt_()


class _Rates(NamedTuple):
    """Numbers that the update of every row shares."""

    beta1: float
    beta2: float
    eps: float
    step_size: float
    """−lr, corrected for the bias of the moments (Kingma & Ba 2015, section 2)."""


def table_moment(table: Tensor) -> Tensor:
    """Zeros of a table's shape [N, d] and dtype, for one of its moments."""
    rows, width = table.shape
    return table_zeros(rows, width, table.dtype, table.device)
