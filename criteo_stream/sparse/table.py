"""A table [w | v] of all columns, with sparse gradients by default."""

import numpy as np
import torch
from torch import Tensor, nn

from criteo_stream.sparse.gradients import keep_coalesced, with_dense_gradient


class FusedTable(nn.Embedding):
    """A sparse table whose rows are linear weights beside a vector: [w | v], zeros at first.

    Args:
        rows: number of rows N, the ids of all columns together.
        linear_columns: leading columns that are linear weights.
        d_embed: length k of the vectors.
        sparse: whether the gradient is sparse, as with any ``nn.Embedding``.
    """

    def __init__(
        self, rows: int, linear_columns: int, d_embed: int, *, sparse: bool = True
    ) -> None:
        width = linear_columns + d_embed
        weight = table_zeros(rows, width)  # [N, linear + k]
        super().__init__(rows, width, sparse=sparse, _weight=weight)
        self.linear_columns = linear_columns
        keep_coalesced(self.weight)

    @property
    def lookup_weight(self) -> Tensor:
        """The weight as look-ups take it, so that its gradient is sparse or dense."""
        return self.weight if self.sparse else with_dense_gradient(self.weight)


def table_zeros(
    rows: int, width: int, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Tensor:
    """Zeros [rows, width] for a table whose rows will be read and written in random order.

    On the CPU, NumPy allocates them, because it asks Linux for huge pages: with fewer TLB misses a
    training step takes 8 to 20 % less time. The values are the same.
    """
    dtype = dtype or torch.get_default_dtype()
    device = device or torch.get_default_device()
    if device.type != "cpu":
        return torch.zeros(rows, width, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros((rows, width), str(dtype).removeprefix("torch.")))
