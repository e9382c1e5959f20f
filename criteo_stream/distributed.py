"""The ranks of a training run: one process, or those that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

_TIMEOUT: Final = timedelta(minutes=5)
"""After it, a rank that waits for a lost one gives up."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among the ranks."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    device: torch.device

    @property
    def is_writer(self) -> bool:
        """Whether this rank writes files and shows progress."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank; all ranks must call it at the same step."""
        if self.world_size == 1:
            return flag
        value = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            self.any(False)


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Join the ranks that torchrun started; without torchrun this process is the only one."""
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    ranks = Ranks(
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
        device=device,
    )
    if world_size == 1:
        yield ranks
        return
    # A restarted group can meet the addresses of the attempt before in the store of gloo, and
    # hang: each attempt has a name space of its own.
    store, _, _ = next(rendezvous("env://", rank, world_size, timeout=_TIMEOUT))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        store=dist.PrefixStore(  # type: ignore[attr-defined]  # a C++ name
            f"attempt-{attempt}", store
        ),
        rank=rank,
        world_size=world_size,
        timeout=_TIMEOUT,
    )
    try:
        yield ranks
    finally:
        dist.destroy_process_group()
