"""This process's place among those that torchrun started, read from its environment.

Schedulers and shells set the same variables for purposes of their own. So only torchrun's own
mark makes several processes of one command; a training is also joined through other launchers,
which give an address to meet at.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from criteo_stream.base.errors import UsageError


class Place(NamedTuple):
    """Which process this is, of how many; one alone without torchrun."""

    rank: int
    world_size: int
    local_rank: int
    """Among the ranks on this machine."""
    local_world_size: int


_ALONE = Place(0, 1, 0, 1)


def place(*, any_launcher: bool = False) -> Place:
    """This process's place.

    Args:
        any_launcher: heed the variables without torchrun's mark too.

    Raises:
        UsageError: they make no sense, or give no address to meet the other ranks at.
    """
    by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if not (by_torchrun or any_launcher):
        return _ALONE
    world_size = _number("WORLD_SIZE", 1, 1)
    local_world_size = _number("LOCAL_WORLD_SIZE", 1, 1)
    found = Place(_number("RANK", 0), world_size, _number("LOCAL_RANK", 0), local_world_size)
    if found.rank >= world_size:
        raise _nonsense("RANK", str(found.rank), f"below WORLD_SIZE, which is {world_size}")
    if world_size > 1:
        if not os.environ.get("MASTER_ADDR"):
            raise UsageError(
                f"WORLD_SIZE is {world_size} without a MASTER_ADDR, so the ranks cannot meet: "
                "start them by torchrun, or unset WORLD_SIZE and RANK to train in one process"
            )
        _number("MASTER_PORT", None, 1, 65535)
    return found


def _number(name: str, default: int | None, least: int = 0, most: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    limits = f"an integer from {least} " + (f"to {most}" if most else "on")
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise _nonsense(name, text, limits)
    if most is not None and int(text) > most:
        raise _nonsense(name, text, limits)
    return int(text)


def _nonsense(name: str, text: str, expected: str) -> UsageError:
    return UsageError(
        f"the environment variable {name} is {text!r}, expected {expected}: start ranks by "
        "torchrun, or unset RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE to train in one "
        "process"
    )


def is_writer(*, any_launcher: bool = False) -> bool:
    """Whether this process writes files and prints results."""
    return place(any_launcher=any_launcher).rank == 0


@contextmanager
def without_odd_local_rank() -> Iterator[None]:
    """Import libraries that read LOCAL_RANK as a number, where another program's is none."""
    text = os.environ.get("LOCAL_RANK", "0")
    is_odd = not (text.isascii() and text.isdecimal())
    if is_odd:
        del os.environ["LOCAL_RANK"]
    try:
        yield
    finally:
        if is_odd:
            os.environ["LOCAL_RANK"] = text
