"""Look-ups exchanged between real ranks train as one process does."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.sparse import fused
from criteo_stream.sparse.exchange import distributed
from criteo_stream.sparse.exchange_lookups import LookupExchange
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.step import train_step
from tests.sparse.test_exchange import RANKS, SHARES, fm, rows
from tests.support.processes import on_ranks

STEPS = 4
"""The last one leaves a rank without rows."""


def train(model: torch.nn.Module, called: torch.nn.Module, o: Optimizers, rank: int | None) -> None:
    for step, share in enumerate(SHARES[:STEPS]):
        numbers, ids, labels = rows(step)
        first, last = 0, sum(share)
        if rank is not None:
            first, last = sum(share[:rank]), sum(share[: rank + 1])
        some = slice(first, last)
        o.set_learning_rate(0.01)
        if o.exchange is not None:
            o.exchange.most_rows = max(share)
        batch = (numbers[some], ids[some]), labels[some]
        train_step(called, o, batch, sum(share), 1 if rank is None else RANKS)


def train_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS
    )
    model = fm()
    optimizers = Optimizers(model, l2_embedding=1e-3, fuse=True, exchange=LookupExchange())
    wrapped = distributed(model)
    train(model, wrapped, optimizers, rank)
    torch.save(model.state_dict(), f"{folder}/weights-{rank}.pt")
    del wrapped
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(
    not fused.is_available(torch.device("cpu")), reason="needs Triton and TRITON_INTERPRET=1"
)
def test_two_ranks_train_as_one_process(tmp_path: Path) -> None:
    on_ranks(train_rank, str(tmp_path), ranks=RANKS)
    found = [torch.load(tmp_path / f"weights-{rank}.pt") for rank in range(RANKS)]
    for fuse in (True, False):
        model = fm()
        train(model, model, Optimizers(model, l2_embedding=1e-3, fuse=fuse), None)
        for name, weight in model.state_dict().items():
            assert torch.equal(found[0][name], found[1][name]), name
            torch.testing.assert_close(found[0][name], weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_every_rank_knows_how_many_rows_another_has(data: Path, world_size: int) -> None:
    shares = [
        CriteoDataset(data, "train", 100, lanes=5, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for number, batches in enumerate(zip(*shares, strict=True)):
        most = max(len(label) for _, label in batches)
        assert {share.most_rows_of_a_rank(number) for share in shares} == {most}
