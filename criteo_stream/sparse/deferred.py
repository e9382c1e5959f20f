"""Tables whose gradient is not made: the optimizer sums and applies it in one go.

For a table that `defer` was called for, look-ups leave behind what came back to them
(`fused.LookupGradient`), and `adam.RowwiseSparseAdam` takes it from there. The table's ``grad``
stays None, so nothing else may need it; ranks exchange look-ups, not gradients.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from criteo_stream.sparse import fused
from criteo_stream.sparse.exchange_lookups import LookupExchange
from criteo_stream.sparse.fused import AdamState, LookupGradient
from criteo_stream.sparse.table import table_zeros

_NAME: Final = "_deferred_update"


class DeferredUpdate:
    """What an optimizer needs of a table's look-ups in a step.

    Args:
        weight: the table [N, d].
        exchange: makes of a rank's look-ups those of all ranks.
    """

    def __init__(self, weight: Tensor, exchange: LookupExchange | None = None) -> None:
        self._exchange = exchange
        self._gradient: LookupGradient | None = None
        # On the device, so that a captured step can be replayed at another rate.
        self._step_size = torch.zeros(1, device=weight.device)

    def put(self, gradient: LookupGradient) -> None:
        """Leave the gradient of a batch; one a step."""
        assert self._gradient is None, "a table was looked up in twice before it was updated"
        self._gradient = gradient

    def prepare(self, weight: Tensor, group: Mapping[str, Any], state: dict[str, Any]) -> None:
        """Count a step and set its rate. Nothing waits for the device.

        Args:
            weight: the table.
            group: options of the optimizer.
            state: of the table, as `adam.RowwiseSparseAdam` has it.
        """
        if not state:
            rows, width = weight.shape
            state["step"] = 0
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = table_zeros(rows, width, weight.dtype, weight.device)
        state["step"] += 1
        bias1, bias2 = (1 - beta ** state["step"] for beta in group["betas"])
        self._step_size.fill_(-group["lr"] * math.sqrt(bias2) / bias1)

    def apply(
        self, weight: Tensor, group: Mapping[str, Any], state: Mapping[str, Any], l2: Tensor
    ) -> None:
        """Update the rows that were looked up, if any were."""
        gradient, self._gradient = self._gradient, None
        if gradient is None:
            assert self._exchange is None, "other ranks wait for look-ups"
            return
        if self._exchange is not None:
            gradient = self._exchange(gradient)
        moments = state["exp_avg"], state["exp_avg_sq"]
        coefficients = l2.to(weight.device, weight.dtype).expand(weight.shape[1]).contiguous()
        adam = AdamState(
            weight, *moments, coefficients, self._step_size, group["betas"], group["eps"]
        )
        fused.update(gradient, adam)


def defer(weight: Tensor, exchange: LookupExchange | None = None) -> None:
    """Let a table be updated from its look-ups; `fused.is_supported` must hold for it.

    Args:
        weight: the table [N, d].
        exchange: between ranks, all of which must look up in the table in every step.
    """
    setattr(weight, _NAME, DeferredUpdate(weight, exchange))


def deferred(weight: Tensor) -> DeferredUpdate | None:
    """What `defer` made for a table; None for others."""
    found: DeferredUpdate | None = getattr(weight, _NAME, None)
    return found


def runs_fused(weight: Tensor) -> bool:
    """Whether kernels do a table's look-ups: where its gradient is deferred, or none is wanted."""
    if deferred(weight) is not None:
        return True
    on_gpu = weight.device.type == "cuda"
    return on_gpu and not torch.is_grad_enabled() and fused.is_supported(weight)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, linear: int) -> tuple[Tensor, Tensor]:
        ctx.linear, ctx.update = linear, deferred(weight)
        ctx.save_for_backward(ids)
        return fused.lookup_sums(weight, ids, linear)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, sums: Tensor, squares: Tensor) -> tuple[None, None, None]:
        # sums [B, linear + k], squares [B]
        (ids,) = ctx.saved_tensors
        linear, vectors = sums[:, : ctx.linear], sums[:, ctx.linear :]
        ctx.update.put(LookupGradient(ids, linear, vectors, squares.contiguous()))
        return None, None, None


def deferred_sums(weight: Tensor, ids: Tensor, linear: int) -> tuple[Tensor, Tensor]:
    """`lookups.embedding_sums` of a table for which `runs_fused`."""
    sums, squares = _Sums.apply(weight, ids, linear)  # type: ignore[no-untyped-call]
    return sums, squares


class _Vectors(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, linear: int, fields: int
    ) -> tuple[Tensor, Tensor]:
        ctx.update, ctx.fields = deferred(weight), fields
        ctx.save_for_backward(ids)
        batch, columns = ids.shape
        flat = weight.index_select(0, ids.reshape(-1))  # [B·n, linear + k]
        rows = flat.view(batch, columns, weight.shape[1])
        vectors = weight.new_zeros(batch, fields, weight.shape[1] - linear)  # [B, F, k]
        vectors[:, :columns] = rows[..., linear:]
        return rows[..., :linear].sum(1), vectors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, sums: Tensor, vectors: Tensor) -> tuple[None, None, None, None]:
        # sums [B, linear], vectors [B, F, k]
        (ids,) = ctx.saved_tensors
        flat = vectors.flatten(0, 1)  # [B·F, k]
        ctx.update.put(LookupGradient(ids, sums, flat, fields=ctx.fields))
        return None, None, None, None


def deferred_embeddings(
    weight: Tensor,
    ids: Tensor,
    linear: int,
    fields: int,
    numeric_weight: Tensor | None,
    values: Tensor,
) -> tuple[Tensor, Tensor]:
    """`lookups.field_embeddings` of a table for which `runs_fused`."""
    sums, embeddings = _Vectors.apply(  # type: ignore[no-untyped-call]
        weight, ids, linear, fields
    )  # [B, linear], [B, F, k]
    if numeric_weight is not None:
        sums = sums + values @ numeric_weight[:, :linear]
        numbers = values.unsqueeze(2) * numeric_weight[:, linear:]  # [B, m, k]
        before = fields - len(numeric_weight)
        embeddings = embeddings + torch.nn.functional.pad(numbers, (0, 0, before, 0))
    return sums, embeddings
