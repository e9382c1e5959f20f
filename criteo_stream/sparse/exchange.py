"""Sparse gradients between ranks: an all-gather of unique rows, grouped and summed.

NCCL has no sparse all-reduce, and gloo's gathers every look-up. A rank's gradient is coalesced
here, so it sends each of its rows once; all ranks then add up the same rows in the same order,
and end with the same bits.
"""

import inspect
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn import functional as F  # noqa: N812
from torch.nn.parallel import DistributedDataParallel

from criteo_stream.sparse.table import coalesced


def distributed(model: nn.Module) -> DistributedDataParallel:
    """A model whose ranks exchange sparse gradients by `average_sparse`, dense ones as usual.

    Its buffers are the same on all ranks from the start, so they are not sent in every step.
    """
    parameters = inspect.signature(DistributedDataParallel).parameters
    new = "forward_sync_buffers"  # what torch calls it since it deprecated the other name
    flag = new if new in parameters else "broadcast_buffers"
    options: dict[str, Any] = {flag: False}
    wrapped = DistributedDataParallel(model, **options)
    wrapped.register_comm_hook(None, _exchange)
    return wrapped


def _exchange(
    state: None,
    bucket: dist.GradBucket,  # type: ignore[name-defined]  # DDP checks the annotation
) -> Future[Tensor]:
    gradient = bucket.buffer()
    if not gradient.is_sparse:
        return allreduce_hook(dist.distributed_c10d._get_default_group(), bucket)
    future: Future[Tensor] = Future()
    future.set_result(average_sparse(gradient))
    return future


def average_sparse(gradient: Tensor) -> Tensor:
    """Mean over ranks of a sparse gradient [N, d]; coalesced, the same bits on every rank.

    Needs nothing but all-gather, so it works on gloo and on NCCL. Ranks may have different
    numbers of rows, or none.
    """
    gradient = coalesced(gradient)
    rows, values = gradient._indices()[0], gradient._values()
    world_size = dist.get_world_size()
    mine = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(mine) for _ in range(world_size)]
    dist.all_gather(counts, mine)
    lengths: list[int] = torch.cat(counts).tolist()
    longest = max(lengths)
    all_rows = _gather(rows.to(torch.int32), longest, lengths)
    all_values = _gather(values, longest, lengths)
    merged_rows, merged = _sum_rows(all_rows, all_values.div_(world_size))
    return torch.sparse_coo_tensor(
        merged_rows.long().unsqueeze(0),
        merged,
        gradient.shape,
        is_coalesced=True,
        check_invariants=False,
    )


def _gather(mine: Tensor, longest: int, lengths: list[int]) -> Tensor:
    """All ranks' entries end to end, in the order of ranks; sent padded to the longest."""
    padded = mine.new_zeros(longest, *mine.shape[1:])
    padded[: len(mine)] = mine
    received = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(received, padded)
    return torch.cat([r[:length] for r, length in zip(received, lengths, strict=True)])


def _sum_rows(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the entries of equal rows: distinct rows ascending, and their sums."""
    if not len(rows):
        return rows, values
    ordered, order = torch.sort(rows, stable=True)
    distinct, counts = torch.unique_consecutive(ordered, return_counts=True)
    return distinct, F.embedding_bag(order, values, counts.cumsum(0) - counts, mode="sum")
