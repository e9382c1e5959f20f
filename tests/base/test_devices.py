"""Which device computes: named, found, or refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from criteo_stream import Trainer
from criteo_stream.base.devices import find_device
from criteo_stream.base.errors import UsageError
from criteo_stream.base.ranks import process_group
from criteo_stream.data.copy_ahead import copied_ahead
from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.predict.evaluate import evaluate_run
from criteo_stream.predict.scorer import predict_run


def see_gpus(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_it_is_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    see_gpus(0, monkeypatch)
    assert find_device(name) == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    see_gpus(0, monkeypatch)
    with pytest.raises(UsageError, match="--device cuda: PyTorch finds no GPU"):
        find_device("cuda")


def test_ranks_share_the_gpus_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    see_gpus(2, monkeypatch)
    assert [find_device("auto", rank).index for rank in range(5)] == [0, 1, 0, 1, 0]
    assert find_device("cuda", 1) == torch.device("cuda", 1)
    assert find_device("cpu", 1) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:1", ""])
def test_an_unknown_device_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not known.*: use auto, cpu, cuda"):
        find_device(name)
    wrong: Any = name
    with pytest.raises(UsageError, match=r"is not known.*: use auto, cpu, cuda"):
        Trainer(tmp_path, tmp_path / "run", device=wrong)
    with pytest.raises(UsageError, match="is not known"), process_group(device=name):
        pass


def test_every_command_says_that_there_is_no_gpu(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    see_gpus(0, monkeypatch)
    with pytest.raises(UsageError, match="finds no GPU"):
        Trainer(data, tmp_path / "run", device="cuda").fit()
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="finds no GPU"):
        evaluate_run(tmp_path / "run", device="cuda")
    with pytest.raises(UsageError, match="finds no GPU"):
        predict_run(tmp_path / "run", "-", tmp_path / "out.csv", device="cuda")


def rows_of(batches: Any) -> list[Batch]:
    return [((n.cpu(), c.cpu()), label.cpu()) for (n, c), label in batches]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_batches_copied_ahead_are_the_same(data: Path, device: str) -> None:
    dataset = CriteoDataset(data, "train", 100)
    plain = rows_of(dataset)
    copied = rows_of(copied_ahead(iter(dataset), torch.device(device)))
    assert len(copied) == len(plain)
    for ((n, c), label), ((m, d), other) in zip(plain, copied, strict=True):
        assert torch.equal(n.nan_to_num(-1), m.nan_to_num(-1))
        assert torch.equal(c, d)
        assert torch.equal(label, other)
