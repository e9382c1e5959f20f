"""This process's place among those that torchrun started, read from its environment."""

import os
from typing import NamedTuple


class Place(NamedTuple):
    """Which process this is, of how many; one alone without torchrun."""

    rank: int
    world_size: int
    local_rank: int
    """Among the ranks on this machine."""
    local_world_size: int


def place() -> Place:
    """This process's place."""
    return Place(
        rank=int(os.environ.get("RANK", 0)),
        world_size=int(os.environ.get("WORLD_SIZE", 1)),
        local_rank=int(os.environ.get("LOCAL_RANK", 0)),
        local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
    )


def is_writer() -> bool:
    """Whether this process writes files and prints results."""
    return place().rank == 0
