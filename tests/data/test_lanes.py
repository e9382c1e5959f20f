import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criteo_stream.data.dataset import CriteoDataset, empty_batch, fill
from criteo_stream.data.lanes import LaneReader
from criteo_stream.data.rank_share import share
from tests.support.prepared import encoded_rows, write_data_set

GROUPS = 5 * 8 + 1


def read_all(reader: LaneReader, dataset: CriteoDataset, lanes: range) -> np.ndarray:
    rows = []
    for number in range(dataset.steps):
        bounds = dataset.order.lane_bounds(number, lanes)
        batch = empty_batch(bounds[-1] - bounds[0])
        fill(reader, batch)
        rows.append(batch[0][1][:, 0].numpy())
    return np.concatenate(rows)


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 200), st.integers(0, 9), st.data())
def test_each_consumer_decodes_a_group_once(
    data: Path, lanes: int, batch_size: int, seed: int, draw: st.DataObject
) -> None:
    dataset = CriteoDataset(data, batch_size=batch_size, lanes=lanes, seed=seed)
    consumers = draw.draw(st.integers(1, lanes))
    decoded = 0
    rows = []
    for consumer in range(consumers):
        owned = share(range(lanes), consumer, consumers)
        reader = dataset.open_lanes(0, owned)
        rows.append(read_all(reader, dataset, owned))
        decoded += reader.decoded
        reader.close()
    assert sorted(np.concatenate(rows)) == list(range(643))
    assert decoded <= GROUPS + consumers - 1
    assert decoded == GROUPS or consumers > 1


@pytest.mark.parametrize(
    ("shard_rows", "groups"),
    [
        (4096, 4 + 1),  # lanes end with a group: one each, and the one being decoded
        (4000, 2 * 4 + 1),  # a group reaches into two lanes: its other rows are kept
    ],
)
def test_memory_does_not_grow_with_the_set(tmp_path: Path, shard_rows: int, groups: int) -> None:
    group_bytes = 2048 * (13 * 4 + 26 * 4 + 1)
    for shards in (2, 20):
        folder = tmp_path / str(shards)
        write_data_set(folder, {"train": [shard_rows] * shards}, row_group_rows=2048)
        dataset = CriteoDataset(folder, batch_size=64, lanes=4, verify=False)
        for _ in range(2):  # the first time also loads code
            tracemalloc.start()
            assert sum(len(label) for _, label in dataset) == shards * shard_rows
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < (groups + 0.9) * group_bytes  # 0.9: batches, plan, open files


def test_lanes_can_start_anywhere(data: Path) -> None:
    dataset = CriteoDataset(data, batch_size=50, lanes=5)
    lanes = range(1, 4)
    for first in range(dataset.steps):
        reader = dataset.open_lanes(first, lanes)
        batch = next(dataset.stream(first, lanes))
        again = empty_batch(len(batch[1]))
        fill(reader, again)
        assert again[0][1].equal(batch[0][1])
        expected = encoded_rows(batch[0][1][:, 0].numpy())
        np.testing.assert_array_equal(batch[0][0], expected.numeric)
        assert reader.decoded <= 4 * len(lanes)
        reader.close()
