"""The sparse path through an embedding table: look-ups with coalesced gradients.

A batch looks up few distinct rows of a large table, many of them often. Both functions here sort
the ids once, and their gradient is a *coalesced* sparse tensor (unique rows, ascending), so that
neither the optimizer nor an exchange between ranks has to sort again. They work on the weight of
an ``nn.Embedding(sparse=True)``, in any floating dtype, on CPU and CUDA.
"""

from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from criteo_stream.sparse.grouping import Groups, sparse_gradient, sum_by_row

_ROWS_AT_ONCE: Final = 512
"""Batch rows whose fields are gathered and laid out anew while they are in the cache."""


def is_exporting() -> bool:
    """Whether a graph without gradient is being made, which is to have plain operations."""
    return torch.compiler.is_compiling() and not torch.is_grad_enabled()


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
        sums = F.embedding_bag(ids, weight, mode="sum")
        vectors = weight.index_select(0, groups.rows)
        # |v|² is needed of the distinct rows only; through a column as long as the table it is
        # summed by the same ids, without an index from look-ups to distinct rows.
        norms = torch.linalg.vector_norm(vectors[:, linear:], dim=1, keepdim=True)
        scratch.index_copy_(0, groups.rows, norms.square_())
        squares = F.embedding_bag(ids, scratch, mode="sum").squeeze(1)
        vectors[:, :linear] = 0
        ctx.save_for_backward(vectors, groups.rows, groups.starts, groups.members)
        return sums, squares

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, sums_gradient: Tensor, squares_gradient: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        vectors, rows, starts, members = ctx.saved_tensors
        if not rows.numel():
            values = sums_gradient.new_empty(0, ctx.shape[1])
            return sparse_gradient(rows, values, ctx.shape), None, None, None, None
        # d/dv_u [Σ_b s_b·gs_b + q_b·gq_b] = Σ gs_b + (Σ 2 gq_b) v_u over the look-ups of u.
        both = torch.cat([sums_gradient, 2 * squares_gradient.unsqueeze(1)], dim=1)
        summed = sum_by_row(both, members, starts)
        values = torch.addcmul(summed[:, :-1], vectors, summed[:, -1:])
        return sparse_gradient(rows, values, ctx.shape), None, None, None, None


def embedding_sums(
    weight: Tensor,
    ids: Tensor,
    scratch: Tensor,
    linear: int = 1,
    *,
    ascending_columns: bool = False,
) -> tuple[Tensor, Tensor]:
    """What a factorization machine needs of its looked-up rows (Rendle 2010, lemma 3.1).

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
        looked_up = F.embedding(ids, weight)
        return looked_up.sum(1), looked_up[..., linear:].square().sum((1, 2))
    sums, squares = _EmbeddingSums.apply(  # type: ignore[no-untyped-call]
        weight, ids, scratch, linear, ascending_columns
    )
    return sums, squares


class _EmbeddingLookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ctx.shape = weight.shape
        ctx.save_for_backward(ids)
        flat = weight.index_select(0, ids.reshape(-1))
        return flat.view(*ids.shape, weight.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        flat = gradient.reshape(-1, ctx.shape[1])
        if not ids.numel():
            return sparse_gradient(ids.reshape(-1), flat, ctx.shape), None
        # A look-up's gradient lies at its own place: one column of all places groups them so.
        groups = Groups.of(ids.reshape(-1, 1), ascending_columns=False)
        values = sum_by_row(flat, groups.members, groups.starts)
        return sparse_gradient(groups.rows, values, ctx.shape), None


def embedding_lookup(weight: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table, [B, n, d] of int [B, n]: ``F.embedding`` with a coalesced gradient."""
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
        embeddings = weight.new_empty(batch, fields, weight.shape[1] - linear)
        for start in range(0, batch, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            flat = weight.index_select(0, ids[part].reshape(-1))
            rows = flat.view(-1, columns, weight.shape[1])
            torch.sum(rows[..., :linear], 1, out=sums[part])
            embeddings[part, :columns] = rows[..., linear:]
        embeddings[:, columns:] = 0
        if numeric_weight is not None:
            sums.addmm_(values, numeric_weight[:, :linear])
            numbers = values.unsqueeze(2) * numeric_weight[:, linear:]
            embeddings[:, fields - len(numeric_weight) :] += numbers
        ctx.shape, ctx.has_numbers = weight.shape, numeric_weight is not None
        ctx.save_for_backward(ids, values)
        return sums, embeddings

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, sums_gradient: Tensor, embeddings_gradient: Tensor
    ) -> tuple[Tensor, None, None, None, Tensor | None, None]:
        ids, values = ctx.saved_tensors
        batch, fields, dim = embeddings_gradient.shape
        numbers = None
        if ctx.has_numbers:
            tail = embeddings_gradient[:, fields - values.shape[1] :]
            products = torch.einsum("bn,bnk->nk", values, tail)
            numbers = torch.cat([values.t() @ sums_gradient, products], dim=1)
        if not ids.numel():
            empty = sums_gradient.new_empty(0, ctx.shape[1])
            nothing = sparse_gradient(ids.new_empty(0, dtype=torch.long), empty, ctx.shape)
            return nothing, None, None, None, numbers, None
        groups = Groups.of(ids, ascending_columns=True)
        summed = [sum_by_row(sums_gradient.contiguous(), groups.members, groups.starts)]
        if dim:
            column = torch.arange(ids.shape[1], dtype=ids.dtype, device=ids.device)
            places = groups.members.view(-1, batch) * fields + column.unsqueeze(1)
            flat = embeddings_gradient.reshape(-1, dim)
            summed.append(sum_by_row(flat, places.view(-1), groups.starts))
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
    """What the fields of a batch add up to linearly, and their vectors.

    Args:
        weight: [N, linear + k], rows of linear weights beside a vector.
        ids: int32 [B, n], rows of the table; every id of a column is smaller than every id of the
            next column. They are the first n fields.
        linear: leading columns of a row that are linear weights.
        fields: number of fields F.
        numeric_weight: [m, linear + k], rows that the last m fields have ``values`` times, beside
            that of their ids where they have any.
        values: [B, m], without gradient.

    Returns:
        Σ of the linear weights [B, linear], and the vectors [B, F, k].
    """
    if is_exporting():
        looked_up = F.embedding(ids, weight)
        padded = F.pad(looked_up, (0, 0, 0, fields - ids.shape[1]))
        if numeric_weight is not None:
            numbers = values.unsqueeze(2) * numeric_weight
            padded = padded + F.pad(numbers, (0, 0, fields - values.shape[1], 0))
        return padded[..., :linear].sum(1), padded[..., linear:]
    sums, embeddings = _FieldEmbeddings.apply(  # type: ignore[no-untyped-call]
        weight, ids, linear, fields, numeric_weight, values
    )
    return sums, embeddings


class _PairSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:
        sums = embeddings.sum(1)
        ctx.save_for_backward(embeddings, sums)
        return (sums.square() - embeddings.square().sum(1)) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        embeddings, sums = ctx.saved_tensors
        others = (sums * gradient).unsqueeze(1)
        return torch.addcmul(others, embeddings, gradient.unsqueeze(1), value=-1)


def pair_sums(embeddings: Tensor) -> Tensor:
    """Σ_{i<j} e_i ∘ e_j in O(nk): `FMLayer` unreduced, its gradient in one pass.

    [B, n, k] → [B, k].
    """
    if is_exporting():
        return (embeddings.sum(1).square() - embeddings.square().sum(1)) / 2
    sums: Tensor = _PairSums.apply(embeddings)  # type: ignore[no-untyped-call]
    return sums
