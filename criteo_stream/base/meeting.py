"""How the ranks of one attempt find each other in a store that outlives attempts.

A restarted group can meet what the attempt before left in the store. The count of restarts does
not tell attempts apart: each agent has its own, and that of a replaced one begins at 0 again.
"""

import ipaddress
import os
import secrets
import socket
import time
from typing import Final

import torch.distributed as dist

from criteo_stream.base.errors import UsageError

_PAUSE: Final = 0.05
"""Seconds between two looks into the store."""


def agreed_name(
    store: dist.Store,  # type: ignore[name-defined]  # a C++ name
    rank: int,
    world_size: int,
) -> str:
    """A name that the ranks of this attempt share, and no other attempt; all ranks must call it.

    Every rank but the first says that it is here by a word of its own, under which the first
    answers. Where the word is one of an attempt before, nobody hears the answer, and the first
    rank looks again.

    Raises:
        DistStoreError: some rank does not come within the store's time.
    """
    if rank > 0:
        word = secrets.token_hex(8)
        store.set(f"here/{rank}", word)
        name: str = store.get(f"name/{word}").decode()
        store.set(f"heard/{name}/{rank}", "")
        return name
    name = secrets.token_hex(8)
    absent = set(range(1, world_size))
    deadline = time.monotonic() + store.timeout.total_seconds()
    while absent:
        if time.monotonic() > deadline:
            raise dist.DistStoreError(f"timed out: ranks {sorted(absent)} did not come")
        for other in sorted(absent):
            if store.check([f"heard/{name}/{other}"]):
                absent.remove(other)
            elif store.check([f"here/{other}"]):
                store.set(f"name/{store.get(f'here/{other}').decode()}", name)
        time.sleep(_PAUSE)
    return name


def refuse_loopback(
    store: dist.Store,  # type: ignore[name-defined]  # a C++ name
    rank: int,
    world_size: int,
) -> None:
    """Refuse ranks on several machines one of which tells the others an address of its own inside.

    Gloo tells the address that the hostname means, and Debian's ``/etc/hosts`` makes it 127.0.1.1.
    All ranks must call it, so that none waits for one that cannot be reached.

    Raises:
        UsageError: names the machine.
    """
    store.set(f"machine/{rank}", f"{socket.gethostname()} {_told_address()}")
    machines = [store.get(f"machine/{other}").decode().split(" ") for other in range(world_size)]
    if len({hostname for hostname, _ in machines}) == 1:
        return
    for hostname, address in machines:
        if address and ipaddress.ip_address(address).is_loopback:
            raise UsageError(
                f"the other machines cannot reach {hostname}, whose hostname means {address} "
                "there: set GLOO_SOCKET_IFNAME on every machine to the interface of their network, "
                "like eth0, or correct /etc/hosts"
            )


def _told_address() -> str:
    """The address that gloo tells the other ranks; empty where the user chose an interface."""
    if os.environ.get("GLOO_SOCKET_IFNAME"):
        return ""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except socket.gaierror:  # then gloo takes it too
        return "127.0.0.1"
    return str(found[0][4][0]).partition("%")[0]
