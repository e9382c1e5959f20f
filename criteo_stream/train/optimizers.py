"""The optimizers of a model: row-wise Adam for its tables, Adam for the few dense parameters."""

from typing import Any

import torch
from torch import Tensor, nn

from criteo_stream.sparse import fused
from criteo_stream.sparse.adam import (
    DenseAdam,
    RowwiseSparseAdam,
    l2_of,
    table_moment,
    tables_and_others,
)
from criteo_stream.sparse.deferred import defer
from criteo_stream.sparse.exchange_lookups import LookupExchange

_STATE = ("step", "exp_avg", "exp_avg_sq")
"""What both kinds of Adam keep of a parameter."""


class Optimizers:
    """Steps a model: `RowwiseSparseAdam` for its tables, Adam for the rest.

    Args:
        model: its tables are the ``nn.Embedding(sparse=True)`` modules; a table may say with an
            attribute ``linear_columns`` how many of its leading columns are linear weights.
        l2_linear: L2 coefficient of the linear weights of looked-up rows.
        l2_embedding: L2 coefficient of the vectors of looked-up rows.
        epsilon: Adam's ε on the tables. A gradient that is small against it, such as that of
            an id seen a few times in a large batch, moves its row little.
        fuse: let kernels sum and apply the gradients of tables where they can; such tables have
            no gradient of their own (see `criteo_stream.sparse.deferred`).
        exchange: between ranks, of the look-ups of fused tables.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        l2_linear: float = 0.0,
        l2_embedding: float = 0.0,
        epsilon: float = 1e-8,
        fuse: bool = False,
        exchange: LookupExchange | None = None,
    ) -> None:
        tables, dense = tables_and_others(model)
        self.are_fused = fuse and all(fused.is_supported(table.weight) for table in tables)
        """Whether no table has a gradient of its own."""
        self.exchange = exchange
        """Wants to know of each step how many batch rows the rank with most of them has."""
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._optimizers: list[torch.optim.Optimizer] = []
        for table in tables:
            l2 = l2_of(table, l2_linear, l2_embedding)
            if fuse and fused.is_supported(table.weight):
                defer(table.weight, exchange)
            self._optimizers.append(RowwiseSparseAdam([table.weight], eps=epsilon, l2=l2))
        if dense:
            adam = DenseAdam(dense, **_dense_options(dense[0].device))
            # Adam warns if it could be captured and a step is not, as the first ones are.
            adam._warned_capturable_if_run_uncaptured = True
            self._optimizers.append(adam)

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of the next step; a captured step goes by it, nothing waits for a GPU."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
            if isinstance(optimizer, RowwiseSparseAdam):
                optimizer.prepare()

    def step(self) -> None:
        """Update all parameters from their gradients."""
        for optimizer in self._optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    def state_tensors(self) -> dict[str, Tensor]:
        """Moments and step counts by parameter, as ``parameter.name``."""
        return {
            f"{self._names[id(parameter)]}.{key}": torch.as_tensor(value)
            for optimizer in self._optimizers
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Undo `state_tensors`, by copying.

        Raises:
            ValueError: a tensor is missing, of another shape or type, or belongs to no parameter.
        """
        self._check(tensors)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    self._load_parameter(optimizer, parameter, tensors)

    def _check(self, tensors: dict[str, Tensor]) -> None:
        """Refuse what would leave a moment at zero, or turn its numbers into others."""
        known = set()
        for optimizer in self._optimizers:
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                names = {key: f"{self._names[id(parameter)]}.{key}" for key in _STATE}
                known |= set(names.values())
                found = {key: tensors[name] for key, name in names.items() if name in tensors}
                if found and len(found) < len(names):
                    missing = next(name for key, name in names.items() if key not in found)
                    raise ValueError(f"no {missing}")
                for key, tensor in found.items():
                    if key != "step" and (tensor.shape, tensor.dtype) != (
                        parameter.shape,
                        parameter.dtype,
                    ):
                        raise ValueError(
                            f"{names[key]} is {tensor.dtype} {list(tensor.shape)}, expected "
                            f"{parameter.dtype} {list(parameter.shape)}"
                        )
                    if key == "step" and (tensor.numel() != 1 or not tensor >= 1):
                        raise ValueError(f"{names[key]} is no number of steps")
        if strange := set(tensors) - known:
            raise ValueError(f"{min(strange)} belongs to no parameter")

    def _load_parameter(
        self, optimizer: torch.optim.Optimizer, parameter: Tensor, tensors: dict[str, Tensor]
    ) -> None:
        prefix = f"{self._names[id(parameter)]}."
        for name, tensor in tensors.items():
            key = name.removeprefix(prefix)
            if key == name or "." in key:
                continue
            value: int | Tensor
            if isinstance(optimizer, RowwiseSparseAdam):
                value = int(tensor) if key == "step" else table_moment(parameter).copy_(tensor)
            else:  # Adam keeps its step on the CPU, unless a graph may hold it
                on_cpu = key == "step" and not optimizer.defaults["capturable"]
                value = tensor.to("cpu" if on_cpu else parameter.device, copy=True)
            optimizer.state[parameter][key] = value


def _dense_options(device: torch.device) -> dict[str, Any]:
    """Options of Adam for the dense parameters: on a GPU nothing waits, and a graph may hold it."""
    if device.type != "cuda":
        return {}
    return {"lr": torch.tensor(1e-3, device=device), "fused": True, "capturable": True}
