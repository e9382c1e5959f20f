"""A model on a set whose fit extends its own: ids that it never had are OOV to it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from criteo_stream.base.reserved_ids import OOV_ID


class KnownIds(nn.Module):
    """A model that takes ids beyond its tables for OOV.

    Args:
        model: numeric float [B, 13] and categorical int [B, 26] → logits.
        categories: size of each categorical column's id space, as the model has it.
    """

    sizes: Tensor

    def __init__(self, model: nn.Module, categories: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        sizes = torch.tensor(categories, dtype=torch.int32)
        self.register_buffer("sizes", sizes, persistent=False)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """The model's logits."""
        logits: Tensor = self.model(x_num, x_cat.masked_fill(x_cat >= self.sizes, OOV_ID))
        return logits
