"""Runs on tiny data sets, and what of them must be equal bit for bit."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from criteo_stream import Trainer
from criteo_stream.data.manifest import Manifest
from criteo_stream.runs.checkpoint import Checkpoint
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.history import History
from criteo_stream.runs.state import weights_in
from criteo_stream.train import loop
from criteo_stream.train.result import TrainResult
from tests.support.prepared import write_data_set

CONFIG: dict[str, Any] = {
    "embedding_dim": 4,
    "bins": 4,
    "lanes": 4,
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 0.02,
    "l2_embedding": 2.5e-4,
    "evaluate_every": 0,
}
MEASURED = ("rows_per_second", "waited_for_data", "peak_memory_bytes")
"""Figures that differ between equal runs."""


def tiny_set(
    folder: Path,
    train: Sequence[int] = (410, 300),
    valid: Sequence[int] = (150,),
    test: Sequence[int] = (120,),
) -> Path:
    """A data set of few rows, in row groups of 64."""
    write_data_set(folder, {"train": train, "valid": valid, "test": test})
    return folder


def thinned_set(folder: Path, thinned: int) -> Path:
    """The same, of whose training split so many negatives were left out."""
    manifest = Manifest.read(tiny_set(folder))
    (raw,) = manifest.inputs
    lines = raw.rows + thinned
    rows = manifest.rows | {"thinned": thinned, "read": lines}
    replace(manifest, rows=rows, inputs=[replace(raw, rows=lines)]).write(folder)
    return folder


def trainer(data: Path, run: Path, *, workers: int = 0, **options: Any) -> Trainer:
    """A quiet trainer on one thread; options of the model and of its execution together."""
    fields = TrainConfig.__dataclass_fields__
    config = {name: options.pop(name) for name in list(options) if name in fields}
    return Trainer(
        data,
        run,
        TrainConfig(**CONFIG | config),
        **{"workers": workers, "threads": 1, "quiet": True, **options},
    )


def fit(data: Path, run: Path, **options: Any) -> TrainResult:
    return trainer(data, run, **options).fit()


def as_flags(**options: Any) -> list[str]:
    """The same options for the command line."""
    flags = ["--threads", "1", "--quiet"]
    for name, value in (CONFIG | options).items():
        flags += [f"--{name.replace('_', '-')}", str(value)]
    return flags


@dataclass
class Outcome:
    """All of a run that does not depend on how often it was interrupted."""

    latest: dict[str, bytes]
    best: dict[str, bytes]
    state: dict[str, Any]
    history: list[dict[str, Any]]


def outcome(run: Path) -> Outcome:
    checkpoints = CheckpointFolder(run / "checkpoints")
    latest = checkpoints.load_latest()
    assert latest is not None
    state = latest.state | {"best": _without_measured(latest.state["best"])}
    return Outcome(
        latest=_tensor_bytes(latest),
        best=_tensor_bytes(checkpoints.load_best()),
        state=state,
        history=figures(run),
    )


def figures(run: Path) -> list[dict[str, Any]]:
    """The model's figures in the history."""
    return [_without_measured(line.to_dict()) for line in History(run / "history.jsonl").read()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    latest = CheckpointFolder(run / "checkpoints").load_latest()
    assert latest is not None
    return weights_in(latest.tensors)


def farthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Largest difference of two runs' weights."""
    assert a.keys() == b.keys()
    return max(float((a[n] - b[n]).abs().max()) for n in a)


def _without_measured(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {k: _without_measured(v) for k, v in value.items() if k not in MEASURED}


def _tensor_bytes(checkpoint: Checkpoint) -> dict[str, bytes]:
    return {n: t.numpy().tobytes() for n, t in checkpoint.tensors.items()}


class Crash(BaseException):
    """Ends a run the hard way, as far as that goes within a process."""


def crash_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the next run end hard after so many of its steps."""
    _after(monkeypatch, step, crash=True)


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process SIGTERM after so many steps of the next run."""
    _after(monkeypatch, step, crash=False)


def _after(monkeypatch: pytest.MonkeyPatch, step: int, *, crash: bool) -> None:
    original = loop.train_step
    done = 0

    def train_step(*arguments: Any) -> torch.Tensor:
        nonlocal done
        if crash and done == step:
            raise Crash
        loss = original(*arguments)
        done += 1
        if done == step and not crash:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    monkeypatch.setattr(loop, "train_step", train_step)
