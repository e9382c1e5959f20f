"""The field-aware factorization machine (Juan et al. 2016)."""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from criteo_stream.models.layers import PairLogits
from criteo_stream.sparse.graph_export import is_exporting

_ROWS_AT_ONCE: Final = 128
"""Their products of all pairs stay in the cache."""


class _FieldPairs(torch.autograd.Function):
    """`_field_pairs`; the gradient of v_ij is v_ji."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        ctx.save_for_backward(vectors)
        pairs = vectors.new_empty(len(vectors), vectors.shape[2])
        for part in _parts(len(vectors)):
            pairs[part] = _all_at_once(vectors[part])
        return pairs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (vectors,) = ctx.saved_tensors
        result = torch.empty_like(vectors)
        for part in _parts(len(vectors)):
            weight = gradient[part].unsqueeze(1).unsqueeze(3)
            torch.mul(vectors[part].transpose(1, 3), weight, out=result[part])
        result.diagonal(dim1=1, dim2=3).zero_()
        return result


def _all_at_once(vectors: Tensor) -> Tensor:
    own = vectors.diagonal(dim1=1, dim2=3).square().sum(2)
    return ((vectors * vectors.transpose(1, 3)).sum((1, 3)) - own) / 2


def _parts(rows: int) -> list[slice]:
    return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, rows, _ROWS_AT_ONCE)]


class FFM(nn.Module):
    """Σ_{i<j} ⟨v_ij, v_ji⟩, where v_ij is the vector of field i's id for field j.

    Without a loop over pairs: the sum over all i and j, less the unused v_ii, is twice as much.

    Args:
        fields: number of fields F.
        embedding_dim: length k of the vectors; an id has F of them.
        n_classes: from 2 on, the interaction per dimension feeds a linear head.
    """

    def __init__(self, fields: int, embedding_dim: int, n_classes: int = 1) -> None:
        super().__init__()
        self.vectors_per_id = fields
        self._dim = embedding_dim
        self.logits = PairLogits(embedding_dim, n_classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, F, k·F], an id's vectors side by side as k × F → [B], or [B, n_classes]."""
        fields = self.vectors_per_id
        vectors = embeddings.view(-1, fields, self._dim, fields)  # F numbers lie together, not k
        logits: Tensor = self.logits(_field_pairs(vectors))
        return logits


def _field_pairs(vectors: Tensor) -> Tensor:
    """½ (Σ_ij v_ij ∘ v_ji − Σ_i v_ii²): [B, i, k, j] → [B, k]."""
    if is_exporting():
        return _all_at_once(vectors)
    pairs: Tensor = _FieldPairs.apply(vectors)  # type: ignore[no-untyped-call]
    return pairs
