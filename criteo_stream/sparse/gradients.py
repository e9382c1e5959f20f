"""Sparse gradients of tables, and the promise that they are coalesced.

Coalesced means unique rows in ascending order. Neither the optimizer nor an exchange between ranks
then has to sort them again. Optimizers that know no sparse gradients get dense ones.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def sparse_gradient(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """A coalesced sparse gradient of a table.

    Args:
        rows: int64 [U], unique and ascending.
        values: [U, d], the gradient of each of these rows.
        shape: of the table, [N, d].
    """
    return torch.sparse_coo_tensor(
        rows.unsqueeze(0), values, shape, is_coalesced=True, check_invariants=False
    )


def coalesced(gradient: Tensor) -> Tensor:
    """The same sparse gradient [N, d], coalesced; no work is done if its rows ascend already."""
    if not gradient.is_coalesced():
        rows = gradient._indices()[0]  # int64 [entries]
        if not bool((rows[1:] > rows[:-1]).all()):
            return gradient.coalesce()
        gradient._coalesced_(True)
    return gradient


def keep_coalesced(weight: Tensor) -> None:
    """Keep a table's gradient marked as coalesced: autograd drops the mark when it stores it."""

    def restore(parameter: Tensor) -> None:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = coalesced(parameter.grad)

    weight.register_post_accumulate_grad_hook(restore)  # type: ignore[no-untyped-call]


class _DenseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.to_dense() if gradient.is_sparse else gradient


def with_dense_gradient(weight: Tensor) -> Tensor:
    """The same table [N, d]; what looks up in it gives it a dense gradient.

    A part of the graph and no hook, because copies of a parameter lose their hooks.
    """
    if not (torch.is_grad_enabled() and weight.requires_grad):
        return weight
    dense: Tensor = _DenseGradient.apply(weight)  # type: ignore[no-untyped-call]
    return dense
