"""A step on a GPU makes the host wait for nothing: no number is read back from the device.

Without a GPU the step runs on the meta device, whose tensors have no numbers: an ``item()``, a
``bool()``, a ``tolist()``, or a shape that depends on numbers, fails there. Kernels do nothing.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import criteo_stream.sparse
from criteo_stream.base.ranks import Ranks
from criteo_stream.data.dataset import Batch
from criteo_stream.models import FM, MODELS
from criteo_stream.models.field_model import FieldModel
from criteo_stream.sparse import fused
from criteo_stream.sparse.deferred import deferred
from criteo_stream.train.meters import RunningLoss
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.step import train_step

CATEGORIES = (50, 7, 300)
INTEGERS = 2
META = torch.device("meta")


class NoKernel:
    """Takes what a kernel takes, and does nothing."""

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        assert all(isinstance(size, int) for size in grid)
        return lambda *arguments, **options: None


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("lookup_sums", "update_tiles", "update_spans")
    kernels = SimpleNamespace(**{name: NoKernel() for name in names})
    monkeypatch.setattr(criteo_stream.sparse, "triton_kernels", kernels, raising=False)
    monkeypatch.setattr(fused, "is_available", lambda device: True)


def model_of(name: str, numeric: str) -> nn.Module:
    kind: Any = MODELS[name]
    if kind is FM:
        return FM(INTEGERS, CATEGORIES, 4, numeric=numeric)
    options = {"fields": INTEGERS + len(CATEGORIES), "embedding_dim": 4}
    return FieldModel(INTEGERS, CATEGORIES, 4, kind(**options), numeric=numeric)


def batch_of(rows: int, device: torch.device) -> Batch:
    categories = [torch.randint(0, size, (rows, 1), dtype=torch.int32) for size in CATEGORIES]
    return (
        torch.rand(rows, INTEGERS).to(device),
        torch.cat(categories, 1).to(device),
    ), torch.rand(rows).round().to(device)


def step_on(device: torch.device, model: nn.Module, steps: int = 2) -> None:
    model.to(device)
    optimizers = Optimizers(model, l2_embedding=1e-5, fuse=True)
    assert optimizers.are_fused
    loss = RunningLoss(Ranks(0, 1, 0, 1, device))
    batch = batch_of(70, device)
    for step in range(steps):
        if step == steps - 1 and device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            optimizers.set_learning_rate(0.01)
            loss.add(train_step(model, optimizers, batch, 70, 1), 70)
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    weight: Any = model.table.weight  # type: ignore[union-attr]
    assert deferred(weight) is not None
    assert weight.grad is None


@pytest.mark.usefixtures("no_kernels")
@pytest.mark.parametrize("numeric", ["both", "value", "bins"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_reads_nothing_back(name: str, numeric: str) -> None:
    step_on(META, model_of(name, numeric))


@pytest.mark.usefixtures("no_kernels")
def test_what_is_read_back_would_be_noticed() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        step_on(META, WithCheck(model_of("fm", "both")))


class WithCheck(nn.Module):
    """Reads a number of each batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.table: Any = inner.table
        self.inner = inner

    def forward(self, x_num: torch.Tensor, x_cat: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(x_num, x_cat)
        assert logits.isfinite().all()
        return logits


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_step_on_a_gpu_waits_for_nothing(name: str) -> None:
    step_on(torch.device("cuda"), model_of(name, "both"), steps=4)
