"""Interactions that read the fields' vectors only through sums and a linear map."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from criteo_stream.sparse.interaction import pair_sums


class ProjectedInteraction(nn.Module, ABC):
    """logits = combine(Σ_{i<j} e_i ∘ e_j, Σ_i e_i W_i).

    A `FieldModel` can compute both without laying out the vectors, which makes a step twice as
    fast on a CPU; `forward` is the definition.
    """

    @abstractmethod
    def projection(self) -> Tensor:
        """The matrix W_i of every field: [F, k, h]."""

    @abstractmethod
    def combine(self, pairs: Tensor, projected: Tensor) -> Tensor:
        """Pairs [B, k] and projected vectors [B, h] → [B], or [B, n_classes] from 2 classes on."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, F, k] → [B], or [B, n_classes] from 2 classes on."""
        projected = embeddings.flatten(1) @ self.projection().flatten(0, 1)
        return self.combine(pair_sums(embeddings), projected)
