"""Look-ups in an embedding table whose gradients are coalesced.

A batch looks up few distinct rows of a large table, many of them often. The functions here sort
the ids once, and their gradient is a *coalesced* sparse tensor (unique rows, ascending), so that
neither the optimizer nor an exchange between ranks has to sort again. They work on the weight of
an ``nn.Embedding(sparse=True)``, in any floating dtype, on CPU and CUDA.
"""

from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from criteo_stream.sparse.acceleration import Kernels, kernels, run
from criteo_stream.sparse.deferred import deferred_embeddings, deferred_sums, runs_fused
from criteo_stream.sparse.gradients import sparse_gradient
from criteo_stream.sparse.graph_export import is_exporting
from criteo_stream.sparse.grouping import Groups, lookup_gradient, sum_by_row

_ROWS_AT_ONCE: Final = 512
"""Batch rows to gather and rearrange at once, so that their fields stay in the cache."""


class _EmbeddingSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, scratch: Tensor, linear: int, ascending: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.shape = weight.shape
        if not ids.numel():
            ctx.save_for_backward(weight.new_empty(0), *(ids.new_empty(0, dtype=torch.long),) * 3)
            return weight.new_zeros(len(ids), weight.shape[1]), weight.new_zeros(len(ids))
        groups = Groups.of(ids, ascending_columns=ascending)
        if groups.known_places is not None and (compiled := kernels(weight)):
            return _sums_of_distinct(ctx, weight, groups, groups.known_places, linear, compiled)
        sums = F.embedding_bag(ids, weight, mode="sum")  # [B, linear + k]
        vectors = weight.index_select(0, groups.rows)  # [U, linear + k]
        # Only the distinct rows need |v|². It is written to a column as long as the table and
        # summed there by the same ids, without an index from look-ups to distinct rows.
        norms = torch.linalg.vector_norm(vectors[:, linear:], dim=1, keepdim=True)  # [U, 1]
        scratch.index_copy_(0, groups.rows, norms.square_())
        squares = F.embedding_bag(ids, scratch, mode="sum").squeeze(1)  # [B]
        vectors[:, :linear] = 0
        ctx.save_for_backward(vectors, groups.rows, groups.starts, groups.members)
        return sums, squares

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, sums_gradient: Tensor, squares_gradient: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        # sums_gradient [B, linear + k], squares_gradient [B]
        vectors, rows, starts, members = ctx.saved_tensors  # [U, linear + k], [U], [U], [B·n]
        if not rows.numel():
            values = sums_gradient.new_empty(0, ctx.shape[1])
            return sparse_gradient(rows, values, ctx.shape), None, None, None, None
        # d/dv_u [Σ_b s_b·gs_b + q_b·gq_b] = Σ gs_b + (Σ 2 gq_b) v_u over the look-ups of u.
        both = torch.cat([sums_gradient, 2 * squares_gradient.unsqueeze(1)], dim=1)  # [B, d + 1]
        summed = sum_by_row(both, members, starts)  # [U, d + 1]
        values = torch.addcmul(summed[:, :-1], vectors, summed[:, -1:])  # [U, d]
        return sparse_gradient(rows, values, ctx.shape), None, None, None, None


def _sums_of_distinct(
    ctx: Any, weight: Tensor, groups: Groups, places: Tensor, linear: int, compiled: Kernels
) -> tuple[Tensor, Tensor]:
    """The same from a table of the distinct rows alone, with |v|² beside each."""
    width = weight.shape[1]  # linear + k
    table = weight.new_empty(len(groups.rows), width + 1)
    tasks = -(-len(table) // compiled.rows_at_once)
    run(compiled.gather, tasks, groups.rows.numpy(), weight.detach().numpy(), table.numpy())
    vectors = table[:, :width]  # [U, linear + k]
    norms = torch.linalg.vector_norm(vectors[:, linear:], dim=1)  # [U]
    torch.mul(norms, norms, out=table[:, width])
    sums = F.embedding_bag(places, table, mode="sum")  # [B, linear + k + 1]
    vectors[:, :linear] = 0
    ctx.save_for_backward(vectors, groups.rows, groups.starts, groups.members)
    return sums[:, :width], sums[:, width]


def embedding_sums(
    weight: Tensor,
    ids: Tensor,
    scratch: Tensor,
    linear: int = 1,
    *,
    ascending_columns: bool = False,
) -> tuple[Tensor, Tensor]:
    """Sum looked-up rows and squared vectors, all that an FM needs (Rendle 2010, lemma 3.1).

    Args:
        weight: [N, linear + k], rows of linear weights beside a vector v.
        ids: int32 [B, n], rows of the table.
        scratch: [N, 1] of the weight's dtype; overwritten where ids point.
        linear: leading columns that do not count as vector.
        ascending_columns: promises that every id of a column is smaller than every id of the next
            column, which makes sorting cheaper.

    Returns:
        Σ_i weight[id_i], [B, linear + k], and Σ_i |v_{id_i}|², [B].
    """
    if is_exporting():
        looked_up = F.embedding(ids, weight)  # [B, n, linear + k]
        return looked_up.sum(1), looked_up[..., linear:].square().sum((1, 2))
    if runs_fused(weight):
        return deferred_sums(weight, ids, linear)
    sums, squares = _EmbeddingSums.apply(  # type: ignore[no-untyped-call]
        weight, ids, scratch, linear, ascending_columns
    )
    return sums, squares


class _EmbeddingLookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ctx.shape = weight.shape
        ctx.save_for_backward(ids)
        flat = weight.index_select(0, ids.reshape(-1))  # [B·n, d]
        return flat.view(*ids.shape, weight.shape[1])  # [B, n, d]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors  # [B, n]
        flat = gradient.reshape(-1, ctx.shape[1])  # [B·n, d]
        return lookup_gradient(ids.reshape(-1), flat, ctx.shape), None


def embedding_lookup(weight: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table: ``F.embedding`` with a coalesced gradient.

    Args:
        weight: [N, d].
        ids: int32 or int64 [B, n].

    Returns:
        [B, n, d].
    """
    if is_exporting():
        return F.embedding(ids, weight)
    rows: Tensor = _EmbeddingLookup.apply(weight, ids)  # type: ignore[no-untyped-call]
    return rows


class _FieldEmbeddings(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        ids: Tensor,
        linear: int,
        fields: int,
        numeric_weight: Tensor | None,
        values: Tensor,
    ) -> tuple[Tensor, Tensor]:
        batch, columns = ids.shape
        sums = weight.new_empty(batch, linear)
        embeddings = weight.new_empty(batch, fields, weight.shape[1] - linear)  # [B, F, k]
        for start in range(0, batch, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)  # of P batch rows
            flat = weight.index_select(0, ids[part].reshape(-1))  # [P·n, linear + k]
            rows = flat.view(-1, columns, weight.shape[1])  # [P, n, linear + k]
            torch.sum(rows[..., :linear], 1, out=sums[part])
            embeddings[part, :columns] = rows[..., linear:]
        embeddings[:, columns:] = 0
        if numeric_weight is not None:
            sums.addmm_(values, numeric_weight[:, :linear])
            numbers = values.unsqueeze(2) * numeric_weight[:, linear:]  # [B, m, k]
            embeddings[:, fields - len(numeric_weight) :] += numbers
        ctx.shape, ctx.has_numbers = weight.shape, numeric_weight is not None
        ctx.save_for_backward(ids, values)
        return sums, embeddings

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, sums_gradient: Tensor, embeddings_gradient: Tensor
    ) -> tuple[Tensor, None, None, None, Tensor | None, None]:
        # sums_gradient [B, linear], embeddings_gradient [B, F, k]
        ids, values = ctx.saved_tensors  # [B, n], [B, m]
        batch, fields, dim = embeddings_gradient.shape
        numbers = None
        if ctx.has_numbers:
            tail = embeddings_gradient[:, fields - values.shape[1] :]  # [B, m, k]
            products = torch.einsum("bn,bnk->nk", values, tail)  # [m, k]
            numbers = torch.cat([values.t() @ sums_gradient, products], dim=1)  # [m, linear + k]
        if not ids.numel():
            empty = sums_gradient.new_empty(0, ctx.shape[1])
            nothing = sparse_gradient(ids.new_empty(0, dtype=torch.long), empty, ctx.shape)
            return nothing, None, None, None, numbers, None
        groups = Groups.of(ids, ascending_columns=True)
        summed = [sum_by_row(sums_gradient.contiguous(), groups.members, groups.starts)]
        if dim:
            column = torch.arange(ids.shape[1], dtype=ids.dtype, device=ids.device)  # [n]
            # [n, B], where each look-up's vector lies among all B·F of the batch
            places = groups.members.view(-1, batch) * fields + column.unsqueeze(1)
            flat = embeddings_gradient.reshape(-1, dim)  # [B·F, k]
            summed.append(sum_by_row(flat, places.view(-1), groups.starts))
        # [U, linear] and [U, k] side by side
        gradient = sparse_gradient(groups.rows, torch.cat(summed, dim=1), ctx.shape)
        return gradient, None, None, None, numbers, None


def field_embeddings(
    weight: Tensor,
    ids: Tensor,
    linear: int,
    fields: int,
    numeric_weight: Tensor | None,
    values: Tensor,
) -> tuple[Tensor, Tensor]:
    """The sum of all fields' linear weights, and the fields' vectors.

    Args:
        weight: [N, linear + k], rows of linear weights beside a vector.
        ids: int32 [B, n], rows of the table; every id of a column is smaller than every id of the
            next column. They are the first n fields.
        linear: leading columns of a row that are linear weights.
        fields: number of fields F.
        numeric_weight: [m, linear + k], rows that the last m fields have ``values`` times, in
            addition to those of their ids if they have any.
        values: [B, m], without gradient.

    Returns:
        Σ of the linear weights [B, linear], and the vectors [B, F, k].
    """
    if is_exporting():
        looked_up = F.embedding(ids, weight)  # [B, n, linear + k]
        padded = F.pad(looked_up, (0, 0, 0, fields - ids.shape[1]))  # [B, F, linear + k]
        if numeric_weight is not None:
            numbers = values.unsqueeze(2) * numeric_weight  # [B, m, linear + k]
            padded = padded + F.pad(numbers, (0, 0, fields - values.shape[1], 0))
        return padded[..., :linear].sum(1), padded[..., linear:]
    if runs_fused(weight):
        return deferred_embeddings(weight, ids, linear, fields, numeric_weight, values)
    sums, embeddings = _FieldEmbeddings.apply(  # type: ignore[no-untyped-call]
        weight, ids, linear, fields, numeric_weight, values
    )
    return sums, embeddings
