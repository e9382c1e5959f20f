"""What a model must be: start here to add one.

A model is an interaction: a ``torch.nn.Module`` that turns the embeddings of all fields into
logits. `FieldModel` puts the rest around it: table, integers, linear weights, bias. So a new model

* takes ``fields`` (F) and those options of `TrainConfig` that its constructor names, such as
  ``embedding_dim`` (k);
* maps float [B, F, k] to logits [B], also for B = 0, since a rank can be without rows;
* may say with an attribute ``vectors_per_id`` m that it needs m vectors per id, or none: it then
  gets [B, F, m·k];
* derives from `ProjectedInteraction` if it reads the vectors only through the sum of their pairs
  and one linear map; a step is then about twice as fast on a CPU.

`criteo_stream.models.registry` gives it a name; one of a user's own goes by its import path and
needs nothing of this package. ``docs/models.md`` shows one in 20 lines.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from criteo_stream.sparse.pairs import pair_sums


class ProjectedInteraction(nn.Module, ABC):
    """logits = combine(Σ_{i<j} e_i ∘ e_j, Σ_i e_i W_i).

    A `FieldModel` can compute both arguments without materialising the vectors [B, F, k];
    `forward` is the definition.
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


def vectors_per_id(interaction: nn.Module) -> int:
    """How many vectors per id an interaction needs; 1 unless it says otherwise."""
    count = getattr(interaction, "vectors_per_id", 1)
    assert isinstance(count, int)
    return count
