"""Bilinear interaction: p_ij = v_i W v_j, one vector per id and matrices that ids share.

With a matrix for every pair of fields it is the field-matrixed factorization machine (FmFM, Sun et
al. 2021); FiBiNET (Huang et al. 2019) introduced the three kinds.
"""

import torch
from torch import Tensor, nn

from criteo_stream.models.layers import PairLogits


class BilinearMatrices(nn.Module):
    """The matrices W, k × k; all start as the identity, which makes p_ij the FM's.

    Args:
        fields: number of fields F.
        embedding_dim: length k of the vectors.
        kind: ``all`` (one W), ``each`` (W_i: F of them) or ``interaction`` (W_ij for i < j:
            F (F − 1) / 2 of them, (i, j) in the order (0, 1), (0, 2), (1, 2), (0, 3), …).
    """

    first: Tensor
    """[pairs] i of every pair (i, j)."""
    second: Tensor
    """[pairs] j of every pair (i, j)."""

    def __init__(self, fields: int, embedding_dim: int, kind: str) -> None:
        super().__init__()
        count = {"all": 1, "each": fields, "interaction": fields * (fields - 1) // 2}[kind]
        self.kind = kind
        self.weight = nn.Parameter(torch.eye(embedding_dim).repeat(count, 1, 1))
        second, first = torch.tril_indices(fields, fields, -1)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)

    def partners(self, vectors: Tensor) -> Tensor:
        """Σ_{i<j} v_i W for every j: [B, F, k] → [B, F, k]; its product with v_j sums all pairs."""
        if self.kind != "interaction":
            turned = self._turned(vectors)
            return turned.cumsum(1) - turned
        _, fields, dim = vectors.shape
        # One product with all W_ij as blocks above the diagonal.
        blocks = self.weight.new_zeros(fields, fields, dim, dim)
        blocks[self.first, self.second] = self.weight
        matrix = blocks.transpose(1, 2).reshape(fields * dim, fields * dim)
        return (vectors.flatten(1) @ matrix).view_as(vectors)

    def products(self, vectors: Tensor) -> Tensor:
        """(v_i W) ∘ v_j of every pair: [B, F, k] → [B, pairs, k]."""
        return self._left(vectors) * vectors[:, self.second]

    def inner_products(self, vectors: Tensor) -> Tensor:
        """v_i W v_j of every pair: [B, F, k] → [B, pairs]."""
        if self.kind == "interaction":
            return self.products(vectors).sum(2)
        every = (self._turned(vectors) @ vectors.transpose(1, 2)).flatten(1)
        return every.index_select(1, self.first * vectors.shape[1] + self.second)

    def _left(self, vectors: Tensor) -> Tensor:
        if self.kind == "interaction":
            return torch.einsum("bpk,pkl->bpl", vectors[:, self.first], self.weight)
        return self._turned(vectors)[:, self.first]

    def _turned(self, vectors: Tensor) -> Tensor:
        """v_i W or v_i W_i."""
        if self.kind == "all":
            return vectors @ self.weight[0]
        return torch.einsum("bik,ikl->bil", vectors, self.weight)


class BilinearFFM(nn.Module):
    """Σ_{i<j} v_i W v_j: field-aware through shared matrices.

    Args:
        fields: number of fields F.
        embedding_dim: length k of the vectors.
        n_classes: from 2 on, the interaction per dimension feeds a linear head.
        bilinear: which W: ``all``, ``each`` or ``interaction``; see `BilinearMatrices`.
        layer_norm: normalise the interaction per dimension; a linear head then weighs it.
    """

    def __init__(
        self,
        fields: int,
        embedding_dim: int,
        n_classes: int = 1,
        *,
        bilinear: str = "each",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.matrices = BilinearMatrices(fields, embedding_dim, bilinear)
        self.logits = PairLogits(embedding_dim, n_classes, layer_norm=layer_norm)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, F, k] → [B], or [B, n_classes] from 2 classes on."""
        pairs = (self.matrices.partners(embeddings) * embeddings).sum(1)
        logits: Tensor = self.logits(pairs)
        return logits
