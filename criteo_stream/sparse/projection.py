"""Sums over a batch's fields and a linear map of their vectors, computed once per distinct id.

A perceptron's first layer over all fields' vectors is a sum Σ_i e_i W_i. A batch of 8,192 rows
looks up 320,000 vectors of some 50,000 distinct ids: each distinct one is multiplied once, the
batch rows sum up the products that they look up, and the gradient takes the same way back. Neither
the vectors [B, F, k] nor their gradient are ever materialised.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from criteo_stream.sparse.gradients import sparse_gradient
from criteo_stream.sparse.grouping import Groups, sum_by_row

_WIDTH_AT_ONCE: Final = 64
"""Columns of the linear map at once, so that the products of all distinct ids stay in the cache."""


class FieldSums(NamedTuple):
    """Sums over the fields of every batch row."""

    linear: Tensor
    """Σ_i w_i, [B, linear]."""
    vectors: Tensor
    """Σ_i e_i, [B, k]."""
    squares: Tensor
    """Σ_i e_i ∘ e_i, [B, k]."""
    projected: Tensor
    """Σ_i e_i W_i, [B, h]."""


class _LookupSums(torch.autograd.Function):
    """Sum a batch's look-ups, and return the vectors of the ``last`` columns.

    Returns four tensors: Σ [w | v | v∘v], [B, linear + 2k]; Σ v W_i, [B, h]; the V distinct vectors
    of the last columns, [V, k]; and which of them each batch row looks up, [B, last].
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, linear: int, projection: Tensor, last: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (batch, columns), width = ids.shape, projection.shape[2]  # projection [n, k, h]
        groups = Groups.of(ids, ascending_columns=True)
        bounds = groups.column_bounds(batch)
        places = groups.places(batch)  # [B, n]
        rows = weight.index_select(0, groups.rows)  # [U, linear + k]
        vectors = rows[:, linear:]  # [U, k]
        # [U, linear + 2k] → [B, linear + 2k]
        sums = F.embedding_bag(places, torch.cat([rows, vectors.square()], dim=1), mode="sum")
        projected = rows.new_empty(batch, width)  # [B, h]
        for block in _blocks(width):
            products = rows.new_empty(len(rows), block.stop - block.start)  # [U, block]
            for part, matrix in _by_column(bounds, projection):
                torch.mm(vectors[part], matrix[:, block], out=products[part])
            projected[:, block] = F.embedding_bag(places, products, mode="sum")
        ctx.linear, ctx.bounds, ctx.shape = linear, bounds, weight.shape
        ctx.first = first = bounds[columns - last]
        ctx.save_for_backward(vectors, projection, groups.rows, groups.starts, groups.members)
        last_places = places[:, columns - last :] - first  # [B, last]
        ctx.mark_non_differentiable(last_places)
        return sums, projected, vectors[first:].clone(), last_places

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, sums_gradient: Tensor, projected_gradient: Tensor, last_gradient: Tensor, _: Any
    ) -> tuple[Tensor, None, None, Tensor, None]:
        # sums_gradient [B, linear + 2k], projected_gradient [B, h], last_gradient [V, k]
        vectors, projection, rows, starts, members = ctx.saved_tensors
        summed = sum_by_row(sums_gradient.contiguous(), members, starts)  # [U, linear + 2k]
        width = ctx.shape[1]  # linear + k
        # [U, linear + k], copied: contiguous() of a single row is a view with a stride that makes
        # to_dense() write too far.
        row_gradient = summed[:, :width].clone(memory_format=torch.contiguous_format)
        vector_gradient = row_gradient[:, ctx.linear :]  # [U, k], a view
        vector_gradient.addcmul_(vectors, summed[:, width:], value=2)
        vector_gradient[ctx.first :] += last_gradient
        projection_gradient = torch.empty_like(projection)  # [n, k, h]
        for block in _blocks(projection.shape[2]):
            # [B, block] → [U, block]
            summed = sum_by_row(projected_gradient[:, block].contiguous(), members, starts)
            for (part, matrix), result in zip(
                _by_column(ctx.bounds, projection), projection_gradient, strict=True
            ):
                vector_gradient[part].addmm_(summed[part], matrix[:, block].t())
                torch.mm(vectors[part].t(), summed[part], out=result[:, block])
        table_gradient = sparse_gradient(rows, row_gradient, ctx.shape)
        return table_gradient, None, None, projection_gradient, None


def _blocks(width: int) -> list[slice]:
    """The columns of the linear map in blocks."""
    starts = range(0, width, _WIDTH_AT_ONCE)
    return [slice(start, min(start + _WIDTH_AT_ONCE, width)) for start in starts]


def _by_column(bounds: list[int], projection: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Each column's part of the U distinct rows, and its matrix [k, h] (or its gradient)."""
    parts = (slice(*ends) for ends in itertools.pairwise(bounds))
    return zip(parts, projection, strict=True)


def field_sums(
    weight: Tensor,
    ids: Tensor,
    linear: int,
    projection: Tensor,
    numeric_weight: Tensor | None,
    values: Tensor,
) -> FieldSums:
    """Sum the fields of a batch without materialising their vectors; see `field_embeddings`.

    Args:
        weight: [N, linear + k], rows of linear weights beside a vector.
        ids: int32 [B, n], rows of the table; every id of a column is smaller than every id of the
            next column. They are the first n fields.
        linear: leading columns of a row that are linear weights.
        projection: [F, k, h], the matrix W_i of every field.
        numeric_weight: [m, linear + k], rows that the last m fields have ``values`` times, in
            addition to those of their ids if they have any.
        values: [B, m], without gradient; B is at least 1.
    """
    columns, (fields, dim, _) = ids.shape[1], projection.shape
    numbers = 0 if numeric_weight is None else len(numeric_weight)
    both = columns + numbers - fields  # the last columns, whose fields have a number as well
    sums, projected, last_vectors, last_places = _LookupSums.apply(  # type: ignore[no-untyped-call]
        weight, ids, linear, projection[:columns], both
    )
    w, v, squares = sums.split([linear, dim, dim], dim=1)  # [B, linear], [B, k], [B, k]
    if numeric_weight is not None:
        vectors = numeric_weight[:, linear:]  # [m, k]
        w = w + values @ numeric_weight[:, :linear]
        v = v + values @ vectors
        squares = squares + values.square() @ vectors.square()
        projected = projected + values @ torch.einsum(
            "mk,mkh->mh", vectors, projection[fields - numbers :]
        )
        if both:  # |v + x w|² = |v|² + 2 x v∘w + x² |w|²
            ends = last_places.amax(0)  # [m], the last distinct row of each column
            # [V], the column that each distinct row belongs to
            number = torch.searchsorted(ends, torch.arange(len(last_vectors), dtype=ends.dtype))
            crossed = 2 * last_vectors * vectors[number]  # [V, k]
            squares = squares + F.embedding_bag(
                last_places, crossed, mode="sum", per_sample_weights=values
            )
    return FieldSums(w, v, squares, projected)
