"""FiBiNET: weighted fields and bilinear pairs into a perceptron (Huang et al. 2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from criteo_stream.models.bilinear import BilinearMatrices
from criteo_stream.models.layers import MLP


class SENet(nn.Module):
    """Fields weighted by what all of them hold: v_i · ReLU(W₂ ReLU(W₁ z))_i, z_i the mean of v_i.

    Args:
        fields: number of fields F.
        reduction: F over the width between W₁ and W₂.
    """

    def __init__(self, fields: int, reduction: int = 3) -> None:
        super().__init__()
        width = max(1, fields // reduction)
        self.squeeze = nn.Linear(fields, width, bias=False)
        self.excite = nn.Linear(width, fields, bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, F, k] → [B, F, k]."""
        weights: Tensor = self.excite(self.squeeze(embeddings.mean(2)).relu()).relu()
        return embeddings * weights.unsqueeze(2)


class FiBiNET(nn.Module):
    """MLP(pairs of the vectors and of the vectors weighted by `SENet`).

    Args:
        fields: number of fields F.
        embedding_dim: length k of the vectors.
        n_classes: logits per row.
        bilinear: which W: ``all``, ``each`` or ``interaction``; see `BilinearMatrices`.
        pairs: ``inner`` feeds v_i W v_j, one number per pair (FiBiNET++, Zhang and Zhang 2022);
            ``hadamard`` feeds (v_i W) ∘ v_j, k numbers per pair, as in the first paper.
        hidden: sizes of the perceptron's hidden layers.
    """

    def __init__(
        self,
        fields: int,
        embedding_dim: int,
        n_classes: int = 1,
        *,
        bilinear: str = "each",
        pairs: str = "inner",
        hidden: Sequence[int] = (64, 32),
    ) -> None:
        super().__init__()
        self.senet = SENet(fields)
        self.plain = BilinearMatrices(fields, embedding_dim, bilinear)
        self.weighted = BilinearMatrices(fields, embedding_dim, bilinear)
        self.hadamard = pairs == "hadamard"
        width = fields * (fields - 1) * (embedding_dim if self.hadamard else 1)
        self.mlp = MLP(width, hidden, n_classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, F, k] → [B], or [B, n_classes] from 2 classes on."""
        both = (self.plain, embeddings), (self.weighted, self.senet(embeddings))
        pairs = [
            matrices.products(vectors).flatten(1)
            if self.hadamard
            else matrices.inner_products(vectors)
            for matrices, vectors in both
        ]
        logits: Tensor = self.mlp(torch.cat(pairs, dim=1))
        return logits
