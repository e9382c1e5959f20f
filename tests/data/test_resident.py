"""Batches from memory are those from disk, bit for bit."""

from pathlib import Path

import pytest
import torch

from criteo_stream.base.errors import DataSetError
from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.data.resident import ResidentLoader
from tests.support.training import tiny_set

CPU = torch.device("cpu")


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for ((n, c), label), ((m, d), other) in zip(ours, theirs, strict=True):
        assert torch.equal(n.view(torch.int32), m.view(torch.int32))  # NaN by its bits
        assert torch.equal(c, d)
        assert torch.equal(label, other)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2), (2, 3)])
def test_batches_are_those_from_disk(data: Path, rank: int, world_size: int, shuffle: bool) -> None:
    def dataset() -> CriteoDataset:
        return CriteoDataset(
            data, "train", 100, lanes=5, rank=rank, world_size=world_size, shuffle=shuffle, seed=3
        )

    from_disk, resident = CriteoLoader(dataset()), ResidentLoader(dataset(), CPU, workers=3)
    for epoch in (0, 1, 5):
        from_disk.set_epoch(epoch)
        resident.dataset.set_epoch(epoch)
        assert_same(list(resident), list(from_disk))


@pytest.mark.parametrize("batch", [0, 1, 6, 7])
def test_a_position_is_continued_from(data: Path, batch: int) -> None:
    whole = list(CriteoDataset(data, "train", 100))
    dataset = CriteoDataset(data, "train", 100)
    dataset.load_state_dict(dataset.identity | {"epoch": 0, "batch": batch})
    assert_same(list(ResidentLoader(dataset, CPU)), whole[batch:])
    assert dataset.batches_consumed == len(whole)


def test_damage_is_noticed(tmp_path: Path) -> None:
    data = tiny_set(tmp_path / "set")
    shard = sorted((data / "train").glob("*.parquet"))[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    loader = ResidentLoader(CriteoDataset(data, "train", 100), CPU, workers=2)
    with pytest.raises(DataSetError, match=shard.name):
        next(iter(loader))
