"""Products of all pairs of a row's vectors, added up (Rendle 2010, lemma 3.1)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from criteo_stream.sparse.graph_export import is_exporting


class _PairSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:
        sums = embeddings.sum(1)  # [B, k]
        ctx.save_for_backward(embeddings, sums)
        return (sums.square() - embeddings.square().sum(1)) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        embeddings, sums = ctx.saved_tensors  # [B, n, k], [B, k]
        others = (sums * gradient).unsqueeze(1)  # [B, 1, k]
        return torch.addcmul(others, embeddings, gradient.unsqueeze(1), value=-1)


def pair_sums(embeddings: Tensor) -> Tensor:
    """Sum the elementwise products of all pairs, Σ_{i<j} e_i ∘ e_j, in O(nk).

    The same as `FMLayer` unreduced, with its gradient in one pass over the embeddings.

    Args:
        embeddings: [B, n, k].

    Returns:
        [B, k].
    """
    if is_exporting():
        return (embeddings.sum(1).square() - embeddings.square().sum(1)) / 2
    sums: Tensor = _PairSums.apply(embeddings)  # type: ignore[no-untyped-call]
    return sums
