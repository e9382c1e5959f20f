"""The ranks of a training run: one process, or those that torchrun started."""

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from criteo_stream.base.connections import fail_when_silent
from criteo_stream.base.devices import find_device
from criteo_stream.base.errors import CriteoStreamError, OtherRankError
from criteo_stream.base.meeting import agreed_name, refuse_loopback
from criteo_stream.base.terminal import say
from criteo_stream.base.torchrun_place import place

_JOIN_TIMEOUT: Final = timedelta(minutes=5)
"""For all ranks to be there."""
_PATIENCE: Final = 10.0
"""Seconds of waiting for them before it is told."""
_TIMEOUT: Final = timedelta(minutes=30)
"""After it, a rank that waits for one that hangs gives up: longer than any checkpoint takes to
write. A rank that *ends* is noticed at once."""
_SILENCE: Final = 60
"""Seconds after which a machine that does not answer at all counts as lost."""

_LOST: Final = re.compile(
    r"peer|connection|broken pipe|timed? ?out|gloo|nccl|socket", re.IGNORECASE
)


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

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """Every rank's float64 values, by rank; all ranks must call it at the same step."""
        if self.world_size == 1:
            return [list(values)]
        mine = torch.tensor(values, dtype=torch.float64, device=self.device)
        everyone = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(everyone, mine)
        return [theirs.tolist() for theirs in everyone]

    def gather_tensors(self, mine: torch.Tensor) -> list[torch.Tensor]:
        """Every rank's tensor [n], by rank, each of its own length; all ranks must call it."""
        if self.world_size == 1:
            return [mine]
        lengths = [int(n) for (n,) in self.gather([len(mine)])]
        padded = mine.new_zeros(max(lengths))
        padded[: len(mine)] = mine
        everyone = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(everyone, padded)
        return [theirs[:n] for theirs, n in zip(everyone, lengths, strict=True)]

    def sum(self, mine: torch.Tensor) -> torch.Tensor:
        """Integers added up over the ranks, elementwise; all ranks must call it."""
        if self.world_size == 1:
            return mine
        total = mine.clone()
        dist.all_reduce(total)
        return total

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is set on any rank; all ranks must call it at the same step."""
        return tuple(any(column) for column in zip(*self.gather(flags), strict=True))

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.any(False)

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """A block that fails on all ranks when it fails on one, so that none waits for another.

        Raises:
            CriteoStreamError: the block's own, on the lowest rank that it failed on.
            OtherRankError: without a message, on the other ranks.
        """
        failure: CriteoStreamError | None = None
        try:
            yield
        except CriteoStreamError as error:
            failure = error
        failed = [flag for (flag,) in self.gather([failure is not None])]
        if any(failed):
            if failure is not None and not any(failed[: self.rank]):
                raise failure
            raise OtherRankError


ALONE: Final = Ranks(0, 1, 0, 1, torch.device("cpu"))
"""The only process, on the CPU."""


@contextmanager
def process_group(*, device: str = "auto", any_launcher: bool = False) -> Iterator[Ranks]:
    """Join the ranks that torchrun started; without torchrun this process is the only one.

    Args:
        device: a `DeviceName`. Ranks on a machine with as many GPUs have one each, and speak by
            NCCL; if they are more, they share them, and speak by gloo.
        any_launcher: as for `place`.

    Raises:
        UsageError: the environment makes no sense, or there is no such device.
        OtherRankError: another rank ended, or cannot be reached.
    """
    here = place(any_launcher=any_launcher)
    rank, world_size = here.rank, here.world_size
    mine = find_device(device, here.local_rank)
    if on_gpu := mine.type == "cuda":
        torch.cuda.set_device(mine)
    of_its_own = on_gpu and here.local_world_size <= torch.cuda.device_count()
    ranks = Ranks(*here, mine)
    if world_size == 1:
        yield ranks
        return
    with _lost_ranks_explained(rank):
        with _waiting_told(rank, world_size):
            store, _, _ = next(rendezvous("env://", rank, world_size, timeout=_JOIN_TIMEOUT))
            store.set_timeout(_JOIN_TIMEOUT)
            # Addresses that an attempt before left in the store would make a group hang.
            name = agreed_name(store, rank, world_size)
            store = dist.PrefixStore(name, store)  # type: ignore[attr-defined]  # a C++ name
            if not of_its_own:
                refuse_loopback(store, rank, world_size)
        dist.init_process_group(
            "nccl" if of_its_own else "gloo",
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=_TIMEOUT,
        )
        fail_when_silent(_SILENCE)
        try:
            yield ranks
        finally:
            dist.destroy_process_group()


@contextmanager
def _waiting_told(rank: int, world_size: int) -> Iterator[None]:
    """Say so when the other ranks do not come soon."""
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    minutes = _JOIN_TIMEOUT.seconds // 60
    line = f"rank {rank} of {world_size} waits up to {minutes} minutes for the others at {where}"
    timer = threading.Timer(_PATIENCE, say, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _lost_ranks_explained(rank: int) -> Iterator[None]:
    """Tell in words that a collective failed because another rank is gone."""
    try:
        yield
    except RuntimeError as error:  # of gloo; DistBackendError and its like are RuntimeErrors
        if not isinstance(error, dist.DistError) and not _LOST.search(str(error)):
            raise
        raise OtherRankError(
            f"rank {rank} lost another rank, whose message says why ({_first_line(error)}); "
            "the same command again continues from the last checkpoint"
        ) from error


def _first_line(error: Exception) -> str:
    """What happened, without where in gloo's sources and its advice."""
    line = str(error).strip().partition("\n")[0]
    return line.rpartition(".cc:")[2].partition("] ")[2].partition(". ")[0] or line
