"""Whole runs on a GPU: as on the CPU up to rounding, and repeatable to the bit."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from criteo_stream.data.copy_ahead import on_device
from criteo_stream.predict.evaluate import evaluate_run
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.folder import RunFolder
from criteo_stream.sparse.exchange import distributed
from criteo_stream.train.graphed import GraphedStep
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.step import train_step
from tests.support.paths import REPOSITORY
from tests.support.training import as_flags, fit
from tests.train.test_no_waiting import batch_of, model_of

pytestmark = pytest.mark.gpu


def tensors_of(run: Path) -> dict[str, Tensor]:
    checkpoint = CheckpointFolder(RunFolder(run).checkpoints).load_latest()
    assert checkpoint is not None
    return {name: tensor for name, tensor in checkpoint.tensors.items() if "random" not in name}


def assert_same_bits(run: Path, other: Path) -> None:
    ours, theirs = tensors_of(run), tensors_of(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("model", ["fm", "deepfm"])
def test_a_run_is_the_cpu_s_up_to_rounding(model: str, data: Path, tmp_path: Path) -> None:
    on_gpu = fit(data, tmp_path / "gpu", model=model, device="cuda")
    on_cpu = fit(data, tmp_path / "cpu", model=model, device="cpu")
    assert on_gpu.peak_device_memory_bytes
    assert on_cpu.peak_device_memory_bytes is None
    ours, theirs = tensors_of(tmp_path / "gpu"), tensors_of(tmp_path / "cpu")
    for name, tensor in ours.items():
        if "exp_avg" not in name:
            torch.testing.assert_close(tensor, theirs[name], rtol=0.02, atol=2e-3, msg=name)
    for line, other in zip(on_gpu.history, on_cpu.history, strict=True):
        assert abs(line.train_loss - other.train_loss) < 1e-4


def test_two_runs_are_the_same(data: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        fit(data, tmp_path / name, device="cuda", epochs=2)
    assert_same_bits(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("steps", [1, 3, 7, 22])
def test_a_stopped_run_continues_to_the_same_bits(
    steps: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(data, tmp_path / "whole", device="cuda")
    from criteo_stream.train import loop

    original = loop.TrainLoop._step
    done = 0

    def step(self: Any, batch: Any) -> None:
        nonlocal done
        original(self, batch)
        done += 1
        if done == steps:
            self.occasions.signal.received = 15

    monkeypatch.setattr(loop.TrainLoop, "_step", step)
    stopped = fit(data, tmp_path / "parts", device="cuda")
    assert stopped.steps == steps
    monkeypatch.setattr(loop.TrainLoop, "_step", original)
    fit(data, tmp_path / "parts", device="cuda")
    assert_same_bits(tmp_path / "parts", tmp_path / "whole")


def test_a_graph_trains_as_the_steps_that_it_holds() -> None:
    device = torch.device("cuda")
    ends = []
    for graphed in (False, True):
        torch.manual_seed(0)
        model = model_of("fm", "both").to(device)
        optimizers = Optimizers(model, l2_embedding=1e-3, fuse=True)
        losses = torch.zeros((), device=device)

        def step(batch: Any, model: Any = model, o: Any = optimizers, t: Any = losses) -> None:
            t.add_(train_step(model, o, batch, 64, 1))

        train: Any = GraphedStep(step, 64, device) if graphed else step
        for number in range(8):
            torch.manual_seed(number)
            optimizers.set_learning_rate(0.02 / (1 + number))
            train(on_device(batch_of(64 if number != 5 else 11, torch.device("cpu")), device))
        ends.append([losses, *(p.detach() for p in model.parameters())])
    for ours, theirs in zip(*ends, strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_moves_between_devices(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = fit(data, run, device="cuda")
    on_gpu = evaluate_run(run, "test", device="cuda", quiet=True)
    on_cpu = evaluate_run(run, "test", device="cpu", quiet=True)
    assert first.best is not None
    assert on_gpu.log_loss == pytest.approx(on_cpu.log_loss, rel=1e-5)
    assert on_gpu.rows == on_cpu.rows


def test_a_loss_that_is_not_finite_is_told_before_anything_is_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from criteo_stream.base.errors import RunError
    from criteo_stream.train import loop

    original = loop.TrainLoop._step

    def step(self: Any, batch: Any) -> None:
        if self.training.step == 9:
            batch[1].fill_(float("nan"))
        original(self, batch)

    monkeypatch.setattr(loop.TrainLoop, "_step", step)
    with pytest.raises(RunError, match=r"the loss is no longer finite at step 10 "):
        fit(data, tmp_path / "run", device="cuda")
    assert CheckpointFolder(RunFolder(tmp_path / "run").checkpoints).load_latest() is None


def test_one_rank_over_nccl_trains_as_none(tmp_path: Path) -> None:
    device = torch.device("cuda")
    models = [model_of("fm", "both").to(device) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    dist.init_process_group("nccl", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        for model, called in zip(models, (models[0], distributed(models[1])), strict=True):
            optimizers = Optimizers(model)
            for number in range(3):
                torch.manual_seed(number)
                optimizers.set_learning_rate(0.01)
                train_step(called, optimizers, batch_of(40, device), 40, 1)
    finally:
        dist.destroy_process_group()
    for ours, theirs in zip(models[1].parameters(), models[0].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_train_under_torchrun(ranks: int, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", str(ranks), "-m", "criteo_stream",
            "train", str(data), "--out", str(run), "--device", "cuda", "--workers", "0",
            *as_flags(),
        ],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    fit(data, tmp_path / "alone", device="cuda")
    ours, theirs = tensors_of(run), tensors_of(tmp_path / "alone")
    for name, tensor in ours.items():
        if "exp_avg" not in name:
            torch.testing.assert_close(tensor, theirs[name], rtol=0.02, atol=2e-3, msg=name)
