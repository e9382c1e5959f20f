import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from criteo_stream.base.errors import DataSetError, UsageError
from criteo_stream.data import loader as loader_module
from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.data.loader import CriteoLoader
from tests.data.test_dataset import row_numbers
from tests.support.prepared import write_data_set
from tests.support.processes import wait_for


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("criteo-loader")]


def tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    (numeric, categorical), label = batch
    return numeric.view(torch.int32), categorical, label  # bits, as NaN differs from itself


@pytest.mark.parametrize("workers", [0, 1, 2, 3, 40])
@pytest.mark.parametrize("prefetch", [1, 4])
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (1, 3)])
def test_batches_do_not_depend_on_workers(
    data: Path, workers: int, prefetch: int, rank: int, world_size: int
) -> None:
    options = {"batch_size": 64, "lanes": 8, "rank": rank, "world_size": world_size}
    expected = list(CriteoDataset(data, **options))
    loader = CriteoLoader(CriteoDataset(data, **options), workers, prefetch)
    batches = list(loader)
    assert len(batches) == len(expected) == len(loader)
    for batch, same in zip(batches, expected, strict=True):
        row_numbers(batch)
        assert all(a.equal(b) for a, b in zip(tensors(batch), tensors(same), strict=True))
    assert loader.wait_seconds > 0
    assert not loader_threads()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_only_batches_handed_out_are_consumed(data: Path, workers: int) -> None:
    def fresh() -> CriteoLoader:
        loader = CriteoLoader(CriteoDataset(data, batch_size=50), workers)
        loader.set_epoch(1)
        return loader

    expected = [row_numbers(batch) for batch in fresh()]
    for place in (0, 1, 6, len(expected) - 1, len(expected)):
        loader = fresh()
        iterator = iter(loader)
        got = [row_numbers(next(iterator)) for _ in range(place)]
        first_state, state = loader.state_dict(), loader.state_dict()
        assert first_state == state
        assert state["batch"] == place
        resumed = CriteoLoader(CriteoDataset(data, batch_size=50), workers)
        resumed.load_state_dict(state)
        assert got + [row_numbers(batch) for batch in resumed] == expected
        del iterator
    assert not loader_threads()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_arrives_at_its_batch_with_its_message(
    data: Path, tmp_path: Path, workers: int
) -> None:
    manifest = write_data_set(tmp_path, {"train": [80] * 8}, row_group_rows=16)
    (tmp_path / manifest.shards["train"][5].path).unlink()
    dataset = CriteoDataset(tmp_path, batch_size=8, lanes=4, shuffle=False)
    loader = CriteoLoader(dataset, workers, prefetch=100)
    iterator = iter(loader)
    # Lane 2 of 4 reads rows 320 to 480, two a batch; shard 5 begins with row 400.
    for _ in range((400 - 320) // 2):
        next(iterator)
    with pytest.raises(DataSetError, match=r"part-00005\.parquet is missing"):
        next(iterator)
    assert not loader_threads()


def test_leaving_early_stops_the_threads_at_once(data: Path) -> None:
    loader = CriteoLoader(CriteoDataset(data, batch_size=10), workers=3)
    for _ in loader:
        assert loader_threads()
        break
    assert not loader_threads()
    iterator = iter(loader)
    next(iterator)
    del iterator
    assert not loader_threads()


@pytest.mark.parametrize("prefetch", [1, 3])
def test_threads_read_ahead_as_far_as_allowed(
    data: Path, monkeypatch: pytest.MonkeyPatch, prefetch: int
) -> None:
    allocated = 0

    def counting(rows: int, *, pin_memory: bool) -> Batch:
        nonlocal allocated
        allocated += 1
        return CRITEO_EMPTY(rows, pin_memory=pin_memory)

    CRITEO_EMPTY = loader_module.empty_batch  # noqa: N806
    monkeypatch.setattr(loader_module, "empty_batch", counting)
    iterator = iter(CriteoLoader(CriteoDataset(data, batch_size=20), 2, prefetch))
    for taken in range(1, 8):
        next(iterator)
        wait_for(lambda taken=taken: allocated >= taken + prefetch)
        assert allocated == taken + prefetch


def test_an_iteration_left_open_does_not_keep_the_interpreter(data: Path) -> None:
    script = (
        "import sys\n"
        "from criteo_stream.data.dataset import CriteoDataset\n"
        "from criteo_stream.data.loader import CriteoLoader\n"
        "iterator = iter(CriteoLoader(CriteoDataset(sys.argv[1], batch_size=10), 3))\n"
        "next(iterator)\n"
        "keep = [iterator]; keep.append(keep)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(data)], timeout=60, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_numbers_out_of_range_are_refused(data: Path) -> None:
    for workers, prefetch in [(-1, 4), (1, 0)]:
        with pytest.raises(UsageError, match="give at least 0 workers and 1 batch"):
            CriteoLoader(CriteoDataset(data), workers, prefetch)


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_batches(data: Path, workers: int) -> None:
    loader = CriteoLoader(CriteoDataset(data, batch_size=64), workers, pin_memory=True)
    for batch in loader:
        row_numbers(batch)
        assert all(tensor.is_pinned() for tensor in tensors(batch))
