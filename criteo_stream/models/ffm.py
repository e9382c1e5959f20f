"""The field-aware factorization machine (Juan et al. 2016)."""

from torch import Tensor, nn

from criteo_stream.models.layers import PairLogits


class FFM(nn.Module):
    """Σ_{i<j} ⟨v_ij, v_ji⟩, where v_ij is the vector of field i's id for field j.

    As ½ (Σ_ij ⟨v_ij, v_ji⟩ − Σ_i |v_ii|²), without a loop over pairs. v_ii has no use: its gradient
    is zero.

    Args:
        fields: number of fields F.
        embedding_dim: length k of the vectors; an id has F of them.
        n_classes: from 2 on, the interaction per dimension feeds a linear head.
    """

    def __init__(self, fields: int, embedding_dim: int, n_classes: int = 1) -> None:
        super().__init__()
        self.vectors_per_id = fields
        self._dim = embedding_dim
        self._logits = PairLogits(embedding_dim, n_classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, F, F·k] → [B], or [B, n_classes] from 2 classes on."""
        fields = self.vectors_per_id
        vectors = embeddings.view(-1, fields, fields, self._dim)  # [B, i, j, k]
        own = vectors.diagonal(dim1=1, dim2=2).square().sum(2)
        pairs = ((vectors * vectors.transpose(1, 2)).sum((1, 2)) - own) / 2
        logits: Tensor = self._logits(pairs)
        return logits
