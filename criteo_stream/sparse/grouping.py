"""A batch's look-ups grouped by table row, so that work is done once for every distinct row."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_SORTED_COLUMNS: Final = 8
_SORTED_IDS: Final = 1 << 16
"""Ids sorted at once, at least: with half as many PyTorch gives up its radix sort (CPU)."""


@dataclass(frozen=True)
class Groups:
    """A batch's look-ups grouped by table row."""

    rows: Tensor
    """int64 [U], the distinct table rows, ascending."""
    starts: Tensor
    """[U], where each row's look-ups begin in ``members``, of the ids' dtype."""
    members: Tensor
    """[B·n], the batch row of every look-up, look-ups sorted by table row, of the ids' dtype."""

    @classmethod
    def of(cls, ids: Tensor, *, ascending_columns: bool) -> "Groups":
        """Sort a batch's ids.

        Args:
            ids: int32 or int64 [B, n], not empty.
            ascending_columns: promises that every id of a column is smaller than every id of the
                next column, which makes sorting cheaper.
        """
        batch, columns = ids.shape
        pieces = 1
        if ascending_columns:
            # Columns end to end are sorted piece by piece, each in the processor's cache.
            pieces = max(1, min(columns // _SORTED_COLUMNS, ids.numel() // _SORTED_IDS))
        by_column = ids.t().contiguous()
        ordered = torch.empty_like(by_column)
        order = torch.empty_like(by_column, dtype=torch.int64)
        for part, keys, places in zip(
            by_column.tensor_split(pieces),
            ordered.tensor_split(pieces),
            order.tensor_split(pieces),
            strict=True,
        ):
            # int32 keys sort three times faster than int64.
            torch.sort(part.view(-1), stable=True, out=(keys.view(-1), places.view(-1)))
            if ascending_columns:
                # A sorted column fills the stretch that it came from: no division is needed.
                places -= torch.arange(0, places.numel(), batch, device=ids.device).unsqueeze(1)
        members = order if ascending_columns else order.remainder_(batch)
        rows, counts = torch.unique_consecutive(ordered.view(-1), return_counts=True)
        starts = counts.cumsum(0) - counts
        return cls(rows.long(), starts.to(ids.dtype), members.view(-1).to(ids.dtype))

    def places(self, batch: int) -> Tensor:
        """Where in ``rows`` every id of a batch of ascending columns lies: [B, n], its dtype."""
        columns = self.members.view(-1, batch)
        ends = self.starts.new_tensor([len(self.members)])
        counts = torch.diff(self.starts, append=ends)
        numbers = torch.arange(len(self.rows), dtype=self.members.dtype, device=counts.device)
        in_order = torch.repeat_interleave(numbers, counts, output_size=len(self.members))
        places = torch.empty_like(columns).scatter_(1, columns.long(), in_order.view_as(columns))
        return places.t().contiguous()

    def column_bounds(self, batch: int) -> list[int]:
        """Where in ``rows`` each of ascending columns begins, and their end: n + 1 numbers."""
        columns = len(self.members) // batch
        first = torch.arange(columns + 1, dtype=self.starts.dtype, device=self.starts.device)
        bounds: list[int] = torch.searchsorted(self.starts, first * batch).tolist()
        return bounds


def sum_by_row(values: Tensor, item: Tensor, starts: Tensor) -> Tensor:
    """Σ over each group's look-ups of ``values[item]``: [U, d]."""
    return F.embedding_bag(item, values, starts, mode="sum")


def sparse_gradient(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Values [U, d] of ascending rows [U], as a coalesced sparse tensor of a table's shape."""
    return torch.sparse_coo_tensor(
        rows.unsqueeze(0), values, shape, is_coalesced=True, check_invariants=False
    )
