"""The gradients of several ranks added up: rows of which each rank has some, in ascending order."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from criteo_stream.sparse.acceleration import Kernels, kernels, run
from criteo_stream.sparse.gradients import sparse_gradient
from criteo_stream.sparse.grouping import lookup_gradient

_TASKS_A_THREAD: Final = 4
"""Tasks of equal size may take unequal times."""


def merged(rows: Tensor, values: Tensor, lengths: Sequence[int], shape: torch.Size) -> Tensor:
    """Add up the values of equal rows, in the order of ranks.

    Args:
        rows: int32 [W, longest], every rank's rows, unique and ascending, then anything.
        values: [W, longest, d], theirs.
        lengths: how many rows each rank has, W numbers.
        shape: of the table, [N, d].

    Returns:
        Sparse [N, d], coalesced.
    """
    if (compiled := kernels(rows, values)) is not None:
        return _merged_compiled(rows, values, lengths, shape, compiled)
    parts = list(enumerate(lengths))
    every_row = torch.cat([rows[rank, :length] for rank, length in parts])  # [ΣU]
    every_value = torch.cat([values[rank, :length] for rank, length in parts])  # [ΣU, d]
    return lookup_gradient(every_row, every_value, shape)


def _merged_compiled(
    rows: Tensor, values: Tensor, lengths: Sequence[int], shape: torch.Size, compiled: Kernels
) -> Tensor:
    """The same without sorting. Each task merges a range of table rows."""
    by_rank = [part[:length] for part, length in zip(rows.numpy(), lengths, strict=True)]
    longest = max(by_rank, key=len)
    tasks = min(torch.get_num_threads() * _TASKS_A_THREAD, len(longest)) or 1
    cuts = longest[np.arange(1, tasks) * len(longest) // tasks]  # tasks of about as many rows
    # int64 [tasks + 1, W], where in each rank's rows every task begins
    begins = np.stack(
        [np.concatenate([[0], np.searchsorted(own, cuts), [len(own)]]) for own in by_rank], axis=1
    )
    distinct = np.empty(tasks, np.int64)
    run(compiled.count_merged, tasks, begins, rows.numpy(), distinct)
    first = np.append(0, distinct.cumsum())  # [tasks + 1]
    sum_rows = torch.empty(int(first[-1]), dtype=torch.int64)  # [U]
    sums = values.new_empty(len(sum_rows), shape[1])  # [U, d]
    inputs = begins, first, rows.numpy(), values.numpy()
    run(compiled.add_merged, tasks, *inputs, sum_rows.numpy(), sums.numpy())
    return sparse_gradient(sum_rows, sums, shape)
