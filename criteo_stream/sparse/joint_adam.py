"""One optimizer for a whole model, as a plain training loop and a scheduler expect it."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import nn

from criteo_stream.sparse.adam import (
    DenseAdam,
    RowwiseSparseAdam,
    WithoutCompiler,
    l2_of,
    tables_and_others,
)


class JointAdam(WithoutCompiler, torch.optim.Optimizer):
    """Row-wise Adam for a model's sparse tables and Adam for its other parameters, in one.

    Each table is a parameter group, and so are all others together.

    Args:
        model: its tables are the ``nn.Embedding(sparse=True)`` modules; a table may say with an
            attribute ``linear_columns`` how many of its leading columns are linear weights.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the denominator.
        l2_linear: L2 coefficient of the linear weights of looked-up rows.
        l2_embedding: L2 coefficient of the vectors of looked-up rows.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        l2_linear: float = 0.0,
        l2_embedding: float = 0.0,
    ) -> None:
        self._parts: list[torch.optim.Optimizer] = []
        tables, dense = tables_and_others(model)
        for table in tables:
            l2 = l2_of(table, l2_linear, l2_embedding)
            self._parts.append(RowwiseSparseAdam([table.weight], lr, betas, eps, l2=l2))
        if dense:
            self._parts.append(DenseAdam(dense, lr=lr, betas=betas, eps=eps))
        groups = [group for part in self._parts for group in part.param_groups]
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_parts": self._parts}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add dense parameters, which Adam updates."""
        is_made = len(self.param_groups) == len(self._parts)
        if is_made:
            part = DenseAdam([self.defaults | param_group])
            param_group = part.param_groups[0]
        super().add_param_group(param_group)
        if is_made:
            self._parts.append(part)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for part, group in zip(self._parts, self.param_groups, strict=True):
            # Each time, for a loaded state dict brings groups and state of its own.
            part.param_groups, part.state = [group], self.state
            part.step()
        return loss
