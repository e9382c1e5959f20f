import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from criteo_stream.base.errors import DataSetError, RunError, UsageError
from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.models import FM
from tests.support.prepared import encoded_rows, write_data_set

ROWS = 643


def row_numbers(batch: Batch) -> list[int]:
    """Numbers of a batch's rows, once everything else of them is found to be right."""
    (numeric, categorical), label = batch
    assert (numeric.dtype, categorical.dtype, label.dtype) == (
        torch.float32,
        torch.int32,
        torch.float32,
    )
    rows = categorical[:, 0].numpy()
    expected = encoded_rows(rows)
    np.testing.assert_array_equal(numeric, expected.numeric)
    np.testing.assert_array_equal(categorical, expected.categorical)
    np.testing.assert_array_equal(label, expected.label)
    return rows.tolist()


def joined(parts: list[list[list[int]]]) -> list[list[int]]:
    """Batches of several ranks as global batches."""
    assert len({len(part) for part in parts}) == 1, "ranks differ in their number of steps"
    return [[row for piece in pieces for row in piece] for pieces in zip(*parts, strict=True)]


def ranks_of(data: Path, world_size: int, **options: Any) -> list[CriteoDataset]:
    return [
        CriteoDataset(data, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]


@settings(max_examples=25)
@given(st.integers(1, 20), st.integers(1, 300), st.integers(0, 5), st.data())
def test_batches_are_the_same_on_any_number_of_ranks(
    data: Path, lanes: int, batch_size: int, epoch: int, draw: st.DataObject
) -> None:
    options = {"lanes": lanes, "batch_size": batch_size, "seed": 1}
    world_size = draw.draw(st.integers(1, lanes))
    whole, *ranks = ranks_of(data, 1, **options) + ranks_of(data, world_size, **options)
    for dataset in (whole, *ranks):
        dataset.set_epoch(epoch)
    batches = [row_numbers(batch) for batch in whole]
    assert sorted(row for batch in batches for row in batch) == list(range(ROWS))
    assert [len(batch) for batch in batches] == [whole.rows_in_batch(n) for n in range(whole.steps)]
    assert joined([[row_numbers(b) for b in dataset] for dataset in ranks]) == batches


@settings(max_examples=10)
@given(st.integers(30, 200), st.integers(1, 4), st.integers(1, 4), st.data())
def test_continues_exactly_on_another_number_of_ranks(
    data: Path, batch_size: int, before: int, after: int, draw: st.DataObject
) -> None:
    options = {"lanes": 4, "batch_size": batch_size}
    (whole,) = ranks_of(data, 1, **options)
    whole.set_epoch(2)
    expected = [row_numbers(batch) for batch in whole]
    somewhere = draw.draw(st.integers(0, whole.steps))
    for place in {0, 1, somewhere, whole.steps - 1, whole.steps}:
        states = []
        for dataset in ranks_of(data, before, **options):
            dataset.set_epoch(2)
            iterator = iter(dataset)
            for _ in range(place):
                next(iterator)
            states.append(dataset.state_dict())
        assert all(state == states[0] for state in states)
        state = json.loads(json.dumps(states[0]))
        rest = []
        for dataset in ranks_of(data, after, **options):
            dataset.load_state_dict(state)
            dataset.set_epoch(2)  # as a trainer's loop over epochs does
            rest.append([row_numbers(batch) for batch in dataset])
            assert dataset.state_dict()["batch"] == whole.steps
        assert joined(rest) == expected[place:]


def test_iterating_again_repeats_the_epoch_and_another_epoch_differs(data: Path) -> None:
    dataset = CriteoDataset(data, batch_size=100)
    dataset.load_state_dict(dataset.state_dict(batches_consumed=3))
    assert len(list(dataset)) == dataset.steps - 3
    first = [row_numbers(batch) for batch in dataset]
    assert len(first) == dataset.steps
    assert [row_numbers(batch) for batch in dataset] == first
    dataset.set_epoch(1)
    assert dataset.state_dict()["batch"] == 0
    assert [row_numbers(batch) for batch in dataset] != first


@pytest.mark.parametrize("batch_size", [1, 100, 643, 5000])
@pytest.mark.parametrize("world_size", [1, 3])
def test_its_length_is_that_of_an_epoch(data: Path, batch_size: int, world_size: int) -> None:
    for dataset in ranks_of(data, world_size, batch_size=batch_size):
        loader = DataLoader(dataset, batch_size=None)
        # A warning, which is an error here, tells of a loader that is longer than it says.
        assert len(dataset) == len(loader) == len(list(dataset)) == len(list(loader))


def test_it_knows_what_a_model_asks_for(data: Path) -> None:
    dataset = CriteoDataset(data, batch_size=100)
    assert dataset.d_numerical == 13
    assert dataset.categories == dataset.manifest.categories
    model = FM(dataset.d_numerical, dataset.categories, 4)
    for (numeric, categorical), label in dataset:
        assert model(numeric, categorical).shape == label.shape


def test_read_ahead_is_the_callers_to_subtract(data: Path) -> None:
    dataset = CriteoDataset(data, batch_size=100)
    iterator = iter(dataset)
    read_ahead = [row_numbers(next(iterator)) for _ in range(5)]
    fresh = CriteoDataset(data, batch_size=100)
    fresh.load_state_dict(dataset.state_dict(batches_consumed=2))
    assert row_numbers(next(iter(fresh))) == read_ahead[2]


def test_evaluation_reads_every_row_in_an_order_that_no_seed_or_epoch_changes(data: Path) -> None:
    dataset = CriteoDataset(data, "valid", batch_size=16, lanes=1, seed=3)
    dataset.set_epoch(7)
    assert dataset.rows == 70
    assert [row for batch in dataset for row in row_numbers(batch)] == list(range(70))


def test_a_rank_without_rows_yields_empty_batches_of_the_right_shape(data: Path) -> None:
    pieces = [list(dataset) for dataset in ranks_of(data, 4, batch_size=641, lanes=4)]
    last = [piece[-1] for piece in pieces]
    assert [len(label) for _, label in last] == [0, 1, 0, 1]
    (numeric, categorical), label = last[0]
    assert numeric.shape == (0, 13)
    assert categorical.shape == (0, 26)
    assert label.shape == (0,)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_dataloader_workers_yield_the_pieces_of_each_batch(data: Path) -> None:
    dataset = CriteoDataset(data, batch_size=100, lanes=6)
    expected = [row_numbers(batch) for batch in dataset]
    dataset.load_state_dict(dataset.state_dict(batches_consumed=2))
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, multiprocessing_context="forkserver"
    )
    pieces = [row_numbers(batch) for batch in loader]
    assert [a + b for a, b in zip(pieces[::2], pieces[1::2], strict=True)] == expected[2:]


def test_pickled_it_continues_where_it_was(data: Path) -> None:
    dataset = CriteoDataset(data, batch_size=100)
    expected = [row_numbers(batch) for batch in dataset]
    dataset.load_state_dict(dataset.state_dict(batches_consumed=4))
    copy = pickle.loads(pickle.dumps(dataset))
    assert [row_numbers(batch) for batch in copy] == expected[4:]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"split": "valid"}, "split"),
        ({"seed": 1}, "seed"),
        ({"lanes": 8}, "lanes"),
        ({"batch_size": 99}, "batch size"),
        ({"shuffle": False}, "shuffle"),
    ],
)
def test_a_position_in_something_else_is_refused(
    data: Path, changed: dict[str, Any], name: str
) -> None:
    options: dict[str, Any] = {"batch_size": 100}
    state = CriteoDataset(data, **options).state_dict()
    with pytest.raises(RunError, match=f"has {name} .* where this data set has"):
        CriteoDataset(data, **options | changed).load_state_dict(state)


def test_a_position_in_another_set_or_format_or_nowhere_is_refused(
    data: Path, tmp_path: Path
) -> None:
    write_data_set(tmp_path / "other", {"train": [643]})
    dataset = CriteoDataset(data)
    other = CriteoDataset(tmp_path / "other").state_dict()
    state = dataset.state_dict()
    for wrong in (other, state | {"format": 2}, {}, state | {"batch": 2}, state | {"epoch": None}):
        with pytest.raises(RunError, match="saved position"):
            dataset.load_state_dict(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "'tset': name one of train, valid, test"),
        ({"world_size": 17}, "17 ranks cannot share 16 lanes"),
        ({"rank": 2, "world_size": 2}, "rank 2 is not below the world size 2"),
        ({"batch_size": 0}, "the batch size is 0"),
        ({"seed": -1}, "the seed is -1"),
        ({"lanes": 0}, "cannot share 0 lanes"),
    ],
)
def test_wrong_arguments_are_told(data: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CriteoDataset(data, **options)


def test_an_empty_split_is_told(data: Path) -> None:
    with pytest.raises(DataSetError, match=r"the test split of .* has no rows"):
        CriteoDataset(data, "test")


def test_a_damaged_shard_is_named_unless_verification_is_off(tmp_path: Path) -> None:
    manifest = write_data_set(tmp_path, {"train": [100, 100]}, row_group_rows=16)
    path = tmp_path / manifest.shards["train"][1].path
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataSetError, match=r"part-00001\.parquet is damaged"):
        list(CriteoDataset(tmp_path))
    assert sum(len(label) for _, label in CriteoDataset(tmp_path, verify=False)) == 200


@pytest.mark.parametrize("times_kept", [False, True])
def test_damage_between_two_epochs_is_found(tmp_path: Path, *, times_kept: bool) -> None:
    manifest = write_data_set(tmp_path, {"train": [100, 100]}, row_group_rows=16)
    dataset = CriteoDataset(tmp_path)
    list(dataset)
    path = tmp_path / manifest.shards["train"][1].path
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    if times_kept:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataSetError, match=r"part-00001\.parquet is damaged"):
        list(dataset)
