"""Rows kept in memory train to the same bits as rows read from disk, or are refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from criteo_stream.base.errors import RunError
from criteo_stream.base.ranks import ALONE, Ranks
from criteo_stream.runs.config import TrainConfig
from criteo_stream.train import limits
from criteo_stream.train.limits import where_rows_stay
from tests.support.training import fit, outcome

CUDA = Ranks(0, 1, 0, 1, torch.device("cuda"))


@pytest.mark.parametrize("cache", ["host", "device"])
def test_the_run_is_the_same(cache: str, data: Path, tmp_path: Path) -> None:
    for name, kept in (("kept", cache), ("read", "none")):
        fit(data, tmp_path / name, cache=kept, epochs=2, workers=2, device="cpu")
    assert outcome(tmp_path / "kept") == outcome(tmp_path / "read")


def where(cache: str, rows: int, ranks: Ranks, free: int, m: pytest.MonkeyPatch) -> object:
    m.setattr(limits, "_free_memory", lambda ranks: free)
    config = TrainConfig(batch_size=100).resolved(rows)
    return where_rows_stay(cache, nn.Linear(1, 1), rows, config, ranks)


def test_where_rows_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(cache: str, ranks: Ranks, free: int) -> object:
        return where(cache, 1_000_000, ranks, free, monkeypatch)

    assert found("auto", ALONE, 1 << 40) is None
    assert found("none", CUDA, 1 << 40) is None
    assert found("auto", CUDA, 1 << 40) == CUDA.device
    assert found("auto", CUDA, 200_000_000) is None  # too tight
    assert found("device", CUDA, 200_000_000) == CUDA.device
    assert found("host", CUDA, 200_000_000) == torch.device("cpu")
    for cache in ("host", "device"):
        with pytest.raises(RunError, match=f"--cache {cache}: the training rows take"):
            found(cache, CUDA, 100_000_000)


@pytest.mark.gpu
@pytest.mark.parametrize("cache", ["host", "device"])
def test_the_run_is_the_same_on_a_gpu(cache: str, data: Path, tmp_path: Path) -> None:
    for name, kept in (("kept", cache), ("read", "none")):
        fit(data, tmp_path / name, cache=kept, epochs=2, device="cuda")
    assert outcome(tmp_path / "kept") == outcome(tmp_path / "read")
