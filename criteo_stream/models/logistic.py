"""Logistic regression, as a model without interaction."""

from torch import Tensor, nn


class LinearOnly(nn.Module):
    """No interaction: the logit is w0 + Σ w_i x_i.

    Args:
        n_classes: logits per row.
    """

    vectors_per_id = 0

    def __init__(self, fields: int, embedding_dim: int, n_classes: int = 1) -> None:
        super().__init__()
        self._shape = () if n_classes == 1 else (n_classes,)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, fields, 0] → zeros [B], or [B, n_classes] from 2 classes on."""
        return embeddings.new_zeros(embeddings.shape[0], *self._shape)
