"""Sparse gradients between real ranks equal those of one process."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from criteo_stream.models import FM
from criteo_stream.sparse.acceleration import unaccelerated
from criteo_stream.sparse.exchange import average_sparse, distributed
from tests.support.processes import on_ranks

# Rows of each rank; the last entries leave one rank, then both, without rows.
SHARES = [(5, 3), (1, 7), (0, 4), (6, 0), (0, 0)]
RANKS = 2


def rows(step: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    count = sum(SHARES[step])
    return (
        torch.rand(count, 13, generator=generator),
        torch.randint(0, 6, (count, 26), generator=generator, dtype=torch.int32),
        torch.randint(0, 2, (count,), generator=generator).float(),
    )


def fm() -> FM:
    torch.manual_seed(0)
    return FM(13, [6] * 26, 4, init_scale=0.3)


def loss(model: torch.nn.Module, data: tuple[Tensor, Tensor, Tensor], scale: float) -> Tensor:
    x_num, x_cat, label = data
    logits = model(x_num, x_cat)
    return F.binary_cross_entropy_with_logits(logits, label, reduction="sum") * scale


def train_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS
    )
    model = fm()
    wrapped = distributed(model)
    gradients = []
    for step, share in enumerate(SHARES):
        first = sum(share[:rank])
        mine = tuple(t[first : first + share[rank]] for t in rows(step))
        assert len(mine) == 3
        loss(wrapped, mine, RANKS / max(1, sum(share))).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
        model.zero_grad()
    torch.save(gradients, f"{folder}/gradients-{rank}.pt")
    with unaccelerated():
        for step, share in enumerate(SHARES):
            first = sum(share[:rank])
            mine = tuple(t[first : first + share[rank]] for t in rows(step))
            assert len(mine) == 3
            loss(wrapped, mine, RANKS / max(1, sum(share))).backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None
                assert torch.equal(parameter.grad.to_dense(), gradients[step][name].to_dense())
            model.zero_grad()
    empty = torch.sparse_coo_tensor(
        torch.empty(1, 0, dtype=torch.long), torch.empty(0, 3), (9, 3), check_invariants=True
    )
    assert average_sparse(empty)._nnz() == 0
    # A wrapped model must not outlive its process group, nor a rank leave while another sends.
    del wrapped
    dist.barrier()
    dist.destroy_process_group()


def test_two_ranks_give_the_gradient_of_one_process(tmp_path: Path) -> None:
    on_ranks(train_rank, str(tmp_path), ranks=RANKS)
    found = [torch.load(tmp_path / f"gradients-{rank}.pt") for rank in range(RANKS)]
    for step, share in enumerate(SHARES):
        model = fm()
        loss(model, rows(step), 1 / max(1, sum(share))).backward()
        for name, parameter in model.named_parameters():
            gradients = [found[rank][step][name] for rank in range(RANKS)]
            assert parameter.grad is not None
            if parameter.grad.is_sparse:
                assert all(g.is_coalesced() for g in gradients)
                assert torch.equal(gradients[0].indices(), gradients[1].indices())
                assert torch.equal(gradients[0].values(), gradients[1].values())
                assert torch.equal(gradients[0].indices(), parameter.grad.indices())
            dense = [g.to_dense() if g.is_sparse else g for g in (*gradients, parameter.grad)]
            assert torch.equal(dense[0], dense[1])
            torch.testing.assert_close(dense[0], dense[2], rtol=1e-5, atol=1e-7)
