"""Sparse gradients between ranks: an all-gather of unique rows, grouped and summed.

NCCL has no sparse all-reduce, and gloo's gathers every look-up. Here each rank coalesces its
gradient first, so that it sends each of its rows once; then all ranks add up the same rows in the
same order, and end with the same bits.
"""

import inspect
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from criteo_stream.sparse.deferred import deferred
from criteo_stream.sparse.gradients import coalesced
from criteo_stream.sparse.merging import merged


def distributed(model: nn.Module) -> DistributedDataParallel:
    """Wrap a model so that ranks average its sparse gradients by `average_sparse`.

    Dense gradients are averaged as usual. Tables with deferred gradients have none to average:
    their look-ups are exchanged when the optimizer takes them. Buffers are the same on all ranks
    from the start, so they are not sent in every step.
    """
    parameters = inspect.signature(DistributedDataParallel).parameters
    new = "forward_sync_buffers"  # newer versions of torch deprecate the other name
    flag = new if new in parameters else "broadcast_buffers"
    options: dict[str, Any] = {flag: False}
    without = [name for name, p in model.named_parameters() if deferred(p) is not None]
    if without:
        ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
        ignore(model, without)
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
    """Average a sparse gradient over ranks.

    Needs nothing but all-gather, so it works on gloo and on NCCL.

    Args:
        gradient: sparse [N, d]; ranks may have different numbers of rows, or none.

    Returns:
        Sparse [N, d], coalesced; the same bits on every rank.
    """
    gradient = coalesced(gradient)
    rows, values = gradient._indices()[0], gradient._values()  # int64 [U], [U, d]
    world_size = dist.get_world_size()
    mine = torch.tensor([len(rows)], device=rows.device)  # int64 [1]
    counts = [torch.empty_like(mine) for _ in range(world_size)]
    dist.all_gather(counts, mine)
    lengths: list[int] = torch.cat(counts).tolist()  # each rank's U
    longest = max(lengths)
    all_rows = _gather(rows.to(torch.int32), longest)  # int32 [W, longest]
    all_values = _gather(values, longest)  # [W, longest, d]
    return merged(all_rows, all_values.div_(world_size), lengths, gradient.shape)


def _gather(mine: Tensor, longest: int) -> Tensor:
    """All ranks' entries, in the order of ranks.

    Args:
        mine: [U, …], this rank's entries.
        longest: largest U of any rank; every rank sends as many, whatever is behind its own.

    Returns:
        [W, longest, …].
    """
    padded = mine.new_empty(longest, *mine.shape[1:])  # [longest, …]
    padded[: len(mine)] = mine
    padded[len(mine) :] = 0
    received = mine.new_empty(dist.get_world_size(), *padded.shape)  # [W, longest, …]
    dist.all_gather(list(received.unbind()), padded)
    return received
