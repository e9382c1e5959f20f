"""Row-wise Adam: the update of ``torch.optim.SparseAdam`` on coalesced gradients."""

import math
from collections.abc import Callable
from typing import Any, Final, overload

import torch
from torch import Tensor

from criteo_stream.sparse.table import coalesced, table_zeros

_ROWS_AT_ONCE: Final = 4096
"""On a CPU; the gathered rows, their moments and the gradient then stay in its second cache."""


class RowwiseSparseAdam(torch.optim.SparseAdam):
    """``torch.optim.SparseAdam`` on coalesced gradients, several times faster.

    The update and the state are the same, so either loads the other's state dict. Rows are
    gathered and written back by their indices, where the original masks and adds sparse tensors.

    Optionally L2 regularises the rows that a batch looked up, each once a step:
    gradient += l2 · row. (SparseAdam has no weight decay: rows that were not looked up stay.)
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
        self._l2 = torch.as_tensor(l2)
        self._has_l2 = bool(self._l2.any())

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the rows that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        gradient = coalesced(gradient)
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = table_moment(parameter), table_moment(parameter)
        state["step"] += 1
        rows, values = gradient._indices()[0], gradient._values()
        if not rows.numel():
            return
        size = _ROWS_AT_ONCE if rows.device.type == "cpu" else len(rows)
        for some, theirs in zip(torch.split(rows, size), torch.split(values, size), strict=True):
            self._update_rows(parameter, some, theirs, state, group)

    def _update_rows(
        self,
        parameter: Tensor,
        rows: Tensor,
        values: Tensor,
        state: dict[str, Any],
        group: dict[str, Any],
    ) -> None:
        """Adam on some rows: gathered, updated, and written back while they are in the cache."""
        beta1, beta2 = group["betas"]
        weights = parameter.index_select(0, rows)
        if self._has_l2:
            values = torch.addcmul(values, weights, self._l2)
        mean = state["exp_avg"].index_select(0, rows).lerp_(values, 1 - beta1)
        state["exp_avg"].index_copy_(0, rows, mean)
        square = state["exp_avg_sq"].index_select(0, rows).mul_(beta2)
        square.addcmul_(values, values, value=1 - beta2)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        bias1, bias2 = (1 - beta ** state["step"] for beta in (beta1, beta2))
        denominator = square.sqrt_().add_(group["eps"])
        weights.addcdiv_(mean, denominator, value=-group["lr"] * math.sqrt(bias2) / bias1)
        parameter.index_copy_(0, rows, weights)


def table_moment(table: Tensor) -> Tensor:
    """Zeros of a table's shape [N, d], for one of its moments."""
    rows, width = table.shape
    return table_zeros(rows, width, table.dtype, table.device)
