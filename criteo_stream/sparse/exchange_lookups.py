"""Look-ups between ranks, in place of the gradients that they sum to.

What a table's update needs of a batch row are its ids and what came back to their sum: 228 bytes at
39 ids and 17 columns. That is less than the distinct rows of a rank's batch, 270 to 490 bytes a
batch row, and its size is known before the batch: nothing is read on the host. Each rank then
sums the look-ups of all, in the order of ranks, and so ends with the same bits.
"""

from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

from criteo_stream.sparse.fused import LookupGradient

_NO_ROW: Final = 2**31 - 1
"""An id beyond every table, whose rows are fewer than 2^31."""


class LookupExchange:
    """Gives every rank the look-ups of all ranks; of models that sum up their vectors."""

    def __init__(self) -> None:
        self.most_rows = 0
        """Batch rows of the rank that has most of them in the next step; the same on all ranks."""

    def __call__(self, gradient: LookupGradient) -> LookupGradient:
        """The look-ups of all ranks, each gradient divided by the number of ranks.

        All ranks must call it, those without rows too. Needs nothing but all-gather, so it works on
        gloo and on NCCL.
        """
        assert gradient.squares is not None
        assert not gradient.fields
        parts = [gradient.linear, gradient.vectors, gradient.squares.unsqueeze(1)]
        values = torch.cat(parts, 1).div_(dist.get_world_size())  # [b, linear + k + 1]
        ids = self._of_all(gradient.ids, _NO_ROW)  # [W · most_rows, n]
        every = self._of_all(values, 0)  # [W · most_rows, linear + k + 1]
        linear = gradient.linear.shape[1]
        return LookupGradient(
            ids, every[:, :linear], every[:, linear:-1], every[:, -1].contiguous()
        )

    def _of_all(self, mine: Tensor, padding: int) -> Tensor:
        """All ranks' rows in the order of ranks, padded."""
        padded = mine.new_full((self.most_rows, *mine.shape[1:]), padding)
        padded[: len(mine)] = mine
        received = [torch.empty_like(padded) for _ in range(dist.get_world_size())]
        dist.all_gather(received, padded)
        return torch.cat(received)
