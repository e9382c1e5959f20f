"""How ranks find each other in a store that outlives attempts."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from criteo_stream.base.errors import UsageError
from criteo_stream.base.meeting import agreed_name, refuse_loopback


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
    second = agreed_name(store, 1, 2)
    waiting.join()
    assert [second] == first


def test_a_rank_that_does_not_come_ends_the_waiting() -> None:
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=0.2))
    with pytest.raises(dist.DistStoreError, match=r"timed out: ranks \[1\] did not come"):
        agreed_name(store, 0, 2)
    with pytest.raises(dist.DistStoreError, match="timeout"):
        agreed_name(store, 1, 2)


def test_a_machine_that_tells_an_address_inside_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    store = dist.HashStore()
    store.set("machine/1", "other 10.0.0.1")
    with pytest.raises(UsageError, match=r"cannot reach localhost, whose hostname means (127|::1)"):
        refuse_loopback(store, 0, 2)
    store.set("machine/1", "localhost 127.0.0.1")
    refuse_loopback(store, 0, 2)  # one machine
    store.set("machine/1", "other ")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth0")
    refuse_loopback(store, 0, 2)
