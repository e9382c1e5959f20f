"""One optimizer for a whole model: copied, pickled, and given more parameters."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from criteo_stream.models import FM

COPIES: dict[str, Callable[[Any], Any]] = {
    "copied": copy.deepcopy,
    "pickled": lambda model_and_optimizer: pickle.loads(pickle.dumps(model_and_optimizer)),
}


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        x_num = torch.rand(16, 2, generator=draw)
        model(x_num, torch.randint(0, 4, (16, 2), generator=draw)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("form", COPIES)
def test_a_copy_goes_on_to_the_same_weights(form: str) -> None:
    model = FM(2, [4, 7], 4)
    optimizer = model.optimizer(0.05, l2_embedding=0.1)
    train(model, optimizer, range(3))
    twin, its = COPIES[form]((model, optimizer))
    train(model, optimizer, range(3, 6))
    before = copy.deepcopy(twin.state_dict())
    train(twin, its, range(3, 6))
    for name, tensor in model.state_dict().items():
        assert torch.equal(twin.state_dict()[name], tensor), name
    assert not torch.equal(before["table.weight"], twin.state_dict()["table.weight"])


def test_parameters_that_come_later_are_updated_too() -> None:
    model, head = FM(2, [4, 7], 4), nn.Parameter(torch.ones(1))
    optimizer = model.optimizer(0.05)
    optimizer.add_param_group({"params": [head], "lr": 0.5})
    (model(torch.rand(8, 2), torch.zeros(8, 2, dtype=torch.int32)).sum() * head).backward()
    optimizer.step()
    assert abs(head.item() - 1) == pytest.approx(0.5, rel=1e-3)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, range(2))
