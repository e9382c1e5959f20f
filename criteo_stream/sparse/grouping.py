"""A batch's look-ups grouped by table row, so that work is done once for every distinct row."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from criteo_stream.sparse.acceleration import Kernels, kernels, run
from criteo_stream.sparse.gradients import sparse_gradient

_SORTED_COLUMNS: Final = 8
_SORTED_IDS: Final = 1 << 16
"""Sort at least this many ids at once: at half as many PyTorch gives up its radix sort (CPU)."""


@dataclass(frozen=True)
class Groups:
    """A batch's look-ups grouped by table row. B batch rows look up n ids each, U of them distinct.

    Look-ups are listed by ascending table row, and those of one row by ascending batch row.
    """

    rows: Tensor
    """int64 [U], the distinct table rows, ascending."""
    starts: Tensor
    """[U], where each row's look-ups begin in ``members``; the ids' dtype."""
    members: Tensor
    """[B·n], the batch row of every look-up; the ids' dtype."""
    known_places: Tensor | None = None
    """What `places` returns, where grouping found it on the way."""

    @classmethod
    def of(cls, ids: Tensor, *, ascending_columns: bool) -> "Groups":
        """Sort a batch's ids.

        Args:
            ids: int32 or int64 [B, n], not empty.
            ascending_columns: promises that every id of a column is smaller than every id of the
                next column, which makes sorting cheaper.
        """
        if ascending_columns and ids.dtype == torch.int32 and (compiled := kernels(ids)):
            return cls._by_digits(ids, compiled)
        batch, columns = ids.shape
        pieces = 1
        if ascending_columns:
            # Columns end to end are sorted piece by piece, each in the processor's cache.
            pieces = max(1, min(columns // _SORTED_COLUMNS, ids.numel() // _SORTED_IDS))
        by_column = ids.t().contiguous()  # [n, B]
        ordered = torch.empty_like(by_column)  # [n, B], all ids sorted
        order = torch.empty_like(by_column, dtype=torch.int64)  # [n, B], where each came from
        for part, keys, places in zip(
            by_column.tensor_split(pieces),
            ordered.tensor_split(pieces),
            order.tensor_split(pieces),
            strict=True,
        ):  # [columns of the piece, B] each
            # int32 keys sort three times faster than int64.
            torch.sort(part.view(-1), stable=True, out=(keys.view(-1), places.view(-1)))
            if ascending_columns:
                # A sorted column fills the stretch that it came from: no division is needed.
                places -= torch.arange(0, places.numel(), batch, device=ids.device).unsqueeze(1)
        members = order if ascending_columns else order.remainder_(batch)  # [n, B]
        rows, counts = torch.unique_consecutive(ordered.view(-1), return_counts=True)  # [U] each
        starts = counts.cumsum(0) - counts  # [U]
        return cls(rows.long(), starts.to(ids.dtype), members.view(-1).to(ids.dtype))

    @classmethod
    def _by_digits(cls, ids: Tensor, compiled: Kernels) -> "Groups":
        """The same by compiled kernels, which sort columns by the digits of their ids."""
        batch, columns = ids.shape
        # Of every column; int32 [n, B] each.
        rows, starts, members = np.empty((3, columns, batch), np.int32)
        distinct = np.empty(columns, np.int64)
        run(compiled.sort_columns, columns, ids.numpy(), rows, starts, members, distinct)
        first = np.append(0, distinct.cumsum())  # [n + 1]
        all_rows = torch.empty(int(first[-1]), dtype=torch.int64)
        all_starts = torch.empty(len(all_rows), dtype=torch.int32)
        places = torch.empty_like(ids)
        found = [tensor.numpy() for tensor in (all_rows, all_starts, places)]
        run(compiled.join_columns, columns, first, rows, starts, members, *found)
        return cls(all_rows, all_starts, torch.from_numpy(members).view(-1), places)

    def places(self, batch: int) -> Tensor:
        """Where in ``rows`` each id of a batch of ascending columns lies: [B, n], the ids' dtype.

        Args:
            batch: number of batch rows B.
        """
        if self.known_places is not None:
            return self.known_places
        columns = self.members.view(-1, batch)  # [n, B]
        ends = self.starts.new_tensor([len(self.members)])  # [1]
        counts = torch.diff(self.starts, append=ends)  # [U]
        numbers = torch.arange(len(self.rows), dtype=self.members.dtype, device=counts.device)
        in_order = torch.repeat_interleave(numbers, counts, output_size=len(self.members))  # [B·n]
        places = torch.empty_like(columns).scatter_(1, columns.long(), in_order.view_as(columns))
        return places.t().contiguous()  # [B, n]

    def column_bounds(self, batch: int) -> list[int]:
        """Where in ``rows`` each of the ascending columns begins, and the end: n + 1 numbers.

        Args:
            batch: number of batch rows B.
        """
        columns = len(self.members) // batch
        first = torch.arange(columns + 1, dtype=self.starts.dtype, device=self.starts.device)
        bounds: list[int] = torch.searchsorted(self.starts, first * batch).tolist()
        return bounds


def sum_by_row(values: Tensor, members: Tensor, starts: Tensor) -> Tensor:
    """Sum values over the look-ups of each table row.

    Args:
        values: [entries, d].
        members: int [look-ups], which of the values belongs to each look-up.
        starts: int [U], where each row's look-ups begin; see `Groups`.

    Returns:
        [U, d].
    """
    return F.embedding_bag(members, values, starts, mode="sum")


def lookup_gradient(ids: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Add up the values of equal rows into a coalesced sparse gradient.

    The values of a row are added in their order, so that equal inputs give equal bits.

    Args:
        ids: int [L], table rows in any order; L may be 0.
        values: [L, d], the gradient of each look-up.
        shape: of the table, [N, d].
    """
    if not ids.numel():
        return sparse_gradient(ids.long(), values, shape)
    # A single column of all look-ups: its "batch row" is the place of the look-up itself.
    groups = Groups.of(ids.unsqueeze(1), ascending_columns=True)
    return sparse_gradient(groups.rows, sum_by_row(values, groups.members, groups.starts), shape)
