"""How ranks find each other in a store that outlives attempts."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from criteo_stream.base.meeting import agreed_name


def meet(store: dist.Store, world_size: int) -> set[str]:
    """The names that the ranks of one attempt found, each in a thread."""
    with ThreadPoolExecutor(world_size) as pool:
        return set(pool.map(lambda rank: agreed_name(store, rank, world_size), range(world_size)))


def test_each_attempt_has_a_name_of_its_own() -> None:
    store = dist.HashStore()
    names = [meet(store, 3) for _ in range(4)]
    assert all(len(name) == 1 for name in names), "all ranks of an attempt have the same"
    assert len(set.union(*names)) == 4


def test_what_an_attempt_without_a_first_rank_left_is_no_rank() -> None:
    """The first rank waits for the other one of its own attempt."""
    store = dist.HashStore()
    store.set("here/1", "of an attempt before")
    first: list[str] = []
    waiting = threading.Thread(target=lambda: first.append(agreed_name(store, 0, 2)))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert agreed_name(store, 1, 2) == [waiting.join(), *first][1]


def test_a_rank_that_does_not_come_ends_the_waiting() -> None:
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=0.2))
    with pytest.raises(dist.DistStoreError, match=r"timed out: ranks \[1\] did not come"):
        agreed_name(store, 0, 2)
    with pytest.raises(dist.DistStoreError, match="timeout"):
        agreed_name(store, 1, 2)
