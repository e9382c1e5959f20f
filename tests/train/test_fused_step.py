"""Steps with fused kernels train as the reference does, and their state fits either way."""

import copy

import pytest
import torch
from torch import nn

from criteo_stream.sparse import fused
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.step import train_step
from tests.train.test_no_waiting import batch_of, model_of

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

pytestmark = [
    pytest.mark.gpu
    if DEVICE.type == "cuda"
    else pytest.mark.skipif(
        not fused.is_available(DEVICE),
        reason="needs a GPU, or Triton and TRITON_INTERPRET=1",
    )
]
BATCHES = 3


def optimizers_of(model: nn.Module, *, fuse: bool) -> Optimizers:
    return Optimizers(model, l2_linear=1e-3, l2_embedding=1e-2, fuse=fuse)


def train(model: nn.Module, optimizers: Optimizers, first: int, last: int) -> None:
    for step in range(first, last):
        torch.manual_seed(step)
        batch = batch_of(20 + step, DEVICE)
        optimizers.set_learning_rate(0.01 / (1 + step))
        train_step(model, optimizers, batch, 20 + step, 1)


def assert_alike(model: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-5, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("name", ["fm", "lr", "deepfm"])
@pytest.mark.parametrize("numeric", ["both", "value"])
def test_steps_are_the_reference_s(name: str, numeric: str) -> None:
    torch.manual_seed(1)
    model = model_of(name, numeric).to(DEVICE)
    other = copy.deepcopy(model)
    train(model, optimizers_of(model, fuse=True), 0, BATCHES)
    train(other, optimizers_of(other, fuse=False), 0, BATCHES)
    assert_alike(model, other)


@pytest.mark.parametrize("fuse", [(True, False), (False, True), (True, True)])
def test_either_continues_from_the_other_s_state(fuse: tuple[bool, bool]) -> None:
    torch.manual_seed(2)
    whole = model_of("fm", "both").to(DEVICE)
    first, second = copy.deepcopy(whole), copy.deepcopy(whole)
    train(whole, optimizers_of(whole, fuse=fuse[1]), 0, BATCHES)
    before = optimizers_of(first, fuse=fuse[0])
    train(first, before, 0, 1)
    second.load_state_dict(first.state_dict())
    after = optimizers_of(second, fuse=fuse[1])
    after.load_state_tensors({k: v.cpu() for k, v in before.state_tensors().items()})
    train(second, after, 1, BATCHES)
    assert_alike(second, whole)
    if fuse == (True, True):
        for ours, theirs in zip(second.parameters(), whole.parameters(), strict=True):
            assert torch.equal(ours, theirs)
