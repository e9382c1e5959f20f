"""DeepFM: a factorization machine and a perceptron on the same vectors (Guo et al. 2017)."""

from collections.abc import Sequence

from torch import Tensor

from criteo_stream.models.layers import MLP, PairLogits
from criteo_stream.models.protocol import ProjectedInteraction


class DeepFM(ProjectedInteraction):
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
        self._fields = fields

    def projection(self) -> Tensor:
        """The perceptron's first layer, field by field: [F, k, hidden[0]]."""
        weight = self.mlp.first.weight
        return weight.view(len(weight), self._fields, -1).permute(1, 2, 0)

    def combine(self, pairs: Tensor, projected: Tensor) -> Tensor:
        """Pairs [B, k] and first layer [B, hidden[0]] → [B], or [B, n_classes] from 2 on."""
        logits: Tensor = self.logits(pairs) + self.mlp.after_first(projected)
        return logits
