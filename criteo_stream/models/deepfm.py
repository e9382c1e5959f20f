"""DeepFM: a factorization machine and a perceptron on the same vectors (Guo et al. 2017)."""

from collections.abc import Sequence

from torch import Tensor, nn

from criteo_stream.interaction import pair_sums
from criteo_stream.models.layers import MLP, PairLogits


class DeepFM(nn.Module):
    """The FM's pairs + MLP(all vectors end to end).

    Args:
        fields: number of fields F.
        embedding_dim: length k of the vectors.
        n_classes: from 2 on, the interaction per dimension feeds a linear head.
        hidden: sizes of the perceptron's hidden layers.
    """

    def __init__(
        self,
        fields: int,
        embedding_dim: int,
        n_classes: int = 1,
        *,
        hidden: Sequence[int] = (64, 32),
    ) -> None:
        super().__init__()
        self.logits = PairLogits(embedding_dim, n_classes)
        self.mlp = MLP(fields * embedding_dim, hidden, n_classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, F, k] → [B], or [B, n_classes] from 2 classes on."""
        logits: Tensor = self.logits(pair_sums(embeddings)) + self.mlp(embeddings.flatten(1))
        return logits
