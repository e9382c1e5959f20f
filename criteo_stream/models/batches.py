"""What a model is given: the shapes that it expects, and ids that are their own column's.

All columns share one table, so that an id beyond its column's would be another column's row, and
nothing would fail.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from criteo_stream.base.errors import UsageError


def complete_batch(
    x_num: Tensor | None, x_cat: Tensor | None, d_numerical: int, columns: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """A batch with both of its inputs; one that a model has no columns for may be None.

    Args:
        x_num: float [B, d_numerical].
        x_cat: int [B, columns].
        d_numerical: numeric columns that are expected.
        columns: categorical columns that are expected.
        dtype: of the model's numbers.

    Raises:
        UsageError: one is missing, or of another shape or type.
    """
    if x_num is None and x_cat is not None and not d_numerical:
        x_num = torch.empty(len(x_cat), 0, dtype=dtype, device=x_cat.device)
    if x_cat is None and x_num is not None and not columns:
        x_cat = torch.empty(len(x_num), 0, dtype=torch.int32, device=x_num.device)
    if x_num is None or x_cat is None:
        raise UsageError(
            f"{'x_num' if x_num is None else 'x_cat'} is None, and the model has {d_numerical} "
            f"numeric and {columns} categorical columns: give a tensor for each kind that it has"
        )
    if torch.compiler.is_compiling():  # a graph is for any number of rows: none can be compared
        return x_num, x_cat
    _refuse_shape("x_num", x_num, d_numerical)
    _refuse_shape("x_cat", x_cat, columns)
    if len(x_num) != len(x_cat):
        raise UsageError(f"x_num has {len(x_num)} rows and x_cat {len(x_cat)}: give the same rows")
    if not x_num.is_floating_point():
        raise UsageError(f"x_num is {x_num.dtype}: give floating-point numbers, NaN for missing")
    _refuse_type(x_cat)
    return x_num, x_cat


def check_ids(ids: Tensor, sizes: Tensor, categories: Sequence[int]) -> None:
    """Refuse ids of which there are none in their column.

    On a CPU the error is raised here. On a GPU nothing waits for the answer: the device asserts it,
    as for any index out of range, and the next call that waits for the device fails.

    Args:
        ids: int [B, columns], local to their column.
        sizes: int [columns], number of ids of each column, on the same device.
        categories: the same numbers.

    Raises:
        UsageError: an id is out of range, or the ids are no matrix of integers.
    """
    if torch.compiler.is_compiling():
        return
    _refuse_shape("x_cat", ids, len(categories))
    _refuse_type(ids)
    if ids.is_cuda or ids.is_meta:
        known = ((ids >= 0) & (ids < sizes)).all()
        torch._assert_async(known, "an id is out of its column's range; on the CPU it is named")
        return
    array = ids.cpu().numpy()
    unsigned = array.view(f"u{array.itemsize}")  # negative ids become large ones
    if (unsigned.max(axis=0, initial=0) < np.asarray(categories, np.uint64)).all():
        return
    outside = (array < 0) | (array >= np.asarray(categories))
    if not outside.any():  # no rows, and a column without ids
        return
    row, column = np.argwhere(outside)[0].tolist()
    raise UsageError(
        f"C{column + 1} has id {array[row, column]} in row {row} of the batch, and its ids are "
        f"0 to {categories[column] - 1}: make the model with the categories of the data set that "
        "the ids are from"
    )


def _refuse_shape(name: str, x: Tensor, columns: int) -> None:
    if x.dim() != 2 or x.shape[1] != columns:
        raise UsageError(f"{name} is {list(x.shape)}, expected [rows, {columns}]")


def _refuse_type(ids: Tensor) -> None:
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise UsageError(f"x_cat is {ids.dtype}: give the ids as integers")
