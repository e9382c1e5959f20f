"""A table's look-ups and their update in three kernels, without a sparse gradient in between.

The same results as `criteo_stream.sparse.lookups` and `criteo_stream.sparse.adam`, which define
them, up to the order of sums; that order is fixed, so that equal inputs give equal bits. Shapes
depend on the batch's shape only and nothing is read on the host, so a CUDA graph can hold a step.
"""

import importlib.util
import os
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor


class Tuning(NamedTuple):
    """How the kernels divide their work. Sums are added in another order by another ``tile``."""

    tile: int = 32
    """Look-ups that are summed one by one, before such sums are added up in parallel."""
    elements: int = 256
    """Elements that a program of one warp works on at once: eight a thread."""
    span_tiles: int = 4
    """Tiles whose ends a program sees to, one by one."""
    heads: int = 64
    """Sums of tiles that are added up in parallel."""


TUNING: Final = Tuning()

_HAS_TRITON: Final = importlib.util.find_spec("triton") is not None


def is_available(device: torch.device) -> bool:
    """Whether the kernels run there: on CUDA with Triton, on the CPU in its interpreter only."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return _HAS_TRITON and (device.type == "cuda" or interpreted)


def is_supported(weight: Tensor) -> bool:
    """Whether the kernels can look up in a table, and update it."""
    plain = weight.dtype == torch.float32 and weight.is_contiguous()
    return plain and is_available(weight.device)


@dataclass(frozen=True)
class LookupGradient:
    """The gradient of a table, as what came back to a batch's look-ups.

    Exactly what the update needs: a table row's gradient is a sum over its look-ups of the batch.
    """

    ids: Tensor
    """int32 [B, n], table rows; those that are none are passed over."""
    linear: Tensor
    """[B, linear], of each batch row's Σ of linear weights."""
    vectors: Tensor
    """[B, k], of each batch row's Σ of vectors; with ``fields``, [B · fields, k], of each vector
    of the first n fields of every batch row."""
    squares: Tensor | None = None
    """[B], of each batch row's Σ |v|²."""
    fields: int = 0


class AdamState(NamedTuple):
    """A table and what Adam keeps of it."""

    weight: Tensor
    """[N, linear + k], as the next two."""
    mean: Tensor
    square: Tensor
    l2: Tensor
    """[linear + k], L2 coefficient of each column."""
    step_size: Tensor
    """[1]: −learning rate, corrected for the bias of the moments, on the device."""
    betas: tuple[float, float]
    eps: float


def lookup_sums(
    weight: Tensor, ids: Tensor, linear: int, tuning: Tuning = TUNING
) -> tuple[Tensor, Tensor]:
    """Sum looked-up rows and their squared vectors; see `lookups.embedding_sums`.

    Args:
        weight: [N, linear + k].
        ids: int32 [B, n], rows of the table; others count as rows of zeros.
        linear: leading columns that do not count as vector.
        tuning: how the work is divided.

    Returns:
        [B, linear + k] and [B].
    """
    from criteo_stream.sparse import triton_kernels

    (batch, columns), (rows, width) = ids.shape, weight.shape
    sums, squares = weight.new_empty(batch, width), weight.new_empty(batch)
    blocks = _blocks(linear, width - linear)
    at_once = max(1, tuning.elements // blocks["DIM_BLOCK"])
    if batch:
        with _on(weight.device):
            triton_kernels.lookup_sums[(_ceil(batch, at_once),)](
                weight.detach(), ids.contiguous(), sums, squares, batch, rows,
                COLUMNS=columns, **blocks, ROWS=at_once, num_warps=1,
            )  # fmt: skip
    return sums, squares


def update(gradient: LookupGradient, state: AdamState, tuning: Tuning = TUNING) -> None:
    """Sum a gradient over the look-ups of each table row, and let Adam update these rows.

    Every row that the batch looks up is updated once, others stay as they are; see
    `adam.RowwiseSparseAdam`.
    """
    lookups = gradient.ids.numel()
    if not lookups:
        return
    from criteo_stream.sparse import triton_kernels

    (_, columns), (table_rows, width) = gradient.ids.shape, state.weight.shape
    linear = gradient.linear.shape[1]
    # int32 keys need half the passes of a radix sort, and less than half the bytes.
    rows, order = torch.sort(gradient.ids.reshape(-1), stable=True)
    # The place behind the last look-up of the row that each whole tile ends in.
    last_rows = rows[tuning.tile - 1 :: tuning.tile].contiguous()  # [whole tiles]
    ends = torch.searchsorted(rows, last_rows, right=True, out_int32=True)
    tiles = _ceil(lookups, tuning.tile)
    heads, tails = state.weight.new_empty(2, tiles, width + 1)
    blocks = _blocks(linear, width - linear)
    table = (state.weight.detach(), state.mean, state.square, state.l2, state.step_size)
    rates = (heads, tails, *state.betas, state.eps)
    has_squares = gradient.squares is not None
    linear_gradient, vector_gradient = _unit_stride(gradient.linear), _unit_stride(gradient.vectors)
    at_once = max(1, tuning.elements // blocks["DIM_BLOCK"])
    with _on(state.weight.device):
        triton_kernels.update_tiles[(_ceil(tiles, at_once),)](
            rows, order, lookups, table_rows,
            linear_gradient, linear_gradient.stride(0),
            vector_gradient, vector_gradient.stride(0),
            gradient.squares if has_squares else gradient.linear,
            *table, *rates,
            COLUMNS=columns, FIELDS=gradient.fields, HAS_SQUARES=has_squares, **blocks,
            TILE=tuning.tile, TILES=at_once, num_warps=1,
        )  # fmt: skip
        if len(ends):
            triton_kernels.update_spans[(_ceil(len(ends), tuning.span_tiles),)](
                rows, ends, lookups, table_rows, *table, *rates,
                HAS_SQUARES=has_squares, **blocks,
                TILE=tuning.tile, TILES=tuning.span_tiles, HEADS=tuning.heads, num_warps=2,
            )  # fmt: skip


def _blocks(linear: int, dim: int) -> dict[str, int]:
    """Shapes of a row, and the powers of 2 that hold them."""
    return {
        "LINEAR": linear,
        "DIM": dim,
        "LINEAR_BLOCK": _power_of_2(linear),
        "DIM_BLOCK": _power_of_2(dim),
    }


def _power_of_2(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def _ceil(number: int, of: int) -> int:
    return -(-number // of)


def _unit_stride(values: Tensor) -> Tensor:
    """The same [n, d], the elements of a row side by side."""
    return values if values.stride(1) == 1 else values.contiguous()


def _on(device: torch.device) -> torch.cuda.device:
    """A block in which kernels go to a device; nothing is done on the CPU."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
