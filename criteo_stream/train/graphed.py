"""A training step captured as a CUDA graph: launched as one, its kernels follow without gaps.

A step is some fifty kernels of a few microseconds each; to launch them one by one takes longer
than they run. The graph's kernels and their order are those of the step that was captured, so the
weights are the same.
"""

from collections.abc import Callable
from typing import Final

import torch

from criteo_stream.data.dataset import Batch

_EAGER_STEPS: Final = 3
"""Steps before one is captured: kernels get compiled, libraries and optimizers set up."""


class GraphedStep:
    """Trains on batches; those of the usual size by a graph.

    Args:
        step: trains on a batch on the device, whose rows are those of the whole global batch; it
            must read nothing on the host, and take what changes between steps from the device.
        rows: the usual size of a batch.
        device: a GPU.
    """

    def __init__(self, step: Callable[[Batch], None], rows: int, device: torch.device) -> None:
        self._step = step
        self._rows = rows
        self._device = device
        self._eager_left = _EAGER_STEPS
        self._graph: torch.cuda.CUDAGraph | None = None
        self._input: Batch | None = None

    def __call__(self, batch: Batch) -> None:
        """Train on a batch."""
        if len(batch[1]) != self._rows:
            self._step(batch)
        elif self._eager_left:
            self._eager_left -= 1
            self._run_aside(batch)
        else:
            if self._graph is None:
                self._capture(batch)
            assert self._graph is not None
            assert self._input is not None
            _copy(batch, self._input)
            self._graph.replay()

    def _run_aside(self, batch: Batch) -> None:
        """A step on another stream than the default one, as it will be captured."""
        current = torch.cuda.current_stream(self._device)
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            self._step(batch)
        current.wait_stream(aside)

    def _capture(self, batch: Batch) -> None:
        """Record a step; nothing is computed."""
        (numeric, categorical), label = batch
        self._input = (torch.empty_like(numeric), torch.empty_like(categorical)), label.clone()
        self._graph = torch.cuda.CUDAGraph()
        # Loader threads may allocate page-locked memory meanwhile: theirs is no part of it.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._step(self._input)


def _copy(batch: Batch, into: Batch) -> None:
    (numeric, categorical), label = batch
    (to_numeric, to_categorical), to_label = into
    to_numeric.copy_(numeric)
    to_categorical.copy_(categorical)
    to_label.copy_(label)
