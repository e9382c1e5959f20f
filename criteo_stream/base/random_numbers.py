"""Random numbers of one run, apart from those of everything else in the process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

_TURNS: Final = threading.RLock()


class RandomNumbers:
    """A sequence of PyTorch's random numbers on the CPU, begun by a seed.

    Initial weights, dropout and most of what users write draw from one generator per process. In
    a block of `own` this sequence is in its place, and other blocks wait; behind it the generator
    is as it was before. So neither another run in another thread nor the caller's own numbers
    matter to a run, nor it to them; threads that draw outside of any block still disturb it.
    """

    def __init__(self, seed: int) -> None:
        self.state: Tensor = torch.Generator().manual_seed(seed).get_state()
        """Where the sequence stands, as `torch.get_rng_state` has it."""

    def load(self, state: Tensor) -> None:
        """Go to where another sequence stood.

        Raises:
            RuntimeError, TypeError: it is no such state.
        """
        self.state = torch.Generator().set_state(state).get_state()

    @contextmanager
    def own(self) -> Iterator[None]:
        """A block in which PyTorch draws from this sequence."""
        with _TURNS:
            before = torch.get_rng_state()
            torch.set_rng_state(self.state)
            try:
                yield
            finally:
                self.state = torch.get_rng_state()
                torch.set_rng_state(before)
