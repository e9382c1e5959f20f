"""Batches on a device, each copied there while the model trains on the one before."""

from collections.abc import Generator, Iterable
from typing import NamedTuple

import torch

from criteo_stream.data.dataset import Batch


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device, copied without blocking where it is page-locked."""
    (numeric, categorical), label = batch
    return (
        numeric.to(device, non_blocking=True),
        categorical.to(device, non_blocking=True),
    ), label.to(device, non_blocking=True)


class _Copied(NamedTuple):
    """A batch that may still be on its way."""

    batch: Batch
    arrived: torch.cuda.Event


def copied_ahead(batches: Iterable[Batch], device: torch.device) -> Generator[Batch]:
    """Batches on a device in their order, each asked for and sent one ahead of its use.

    On the CPU they are handed on as they are, none ahead.

    Args:
        batches: in page-locked memory, or copies wait for each other.
        device: where they are wanted.
    """
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: _Copied | None = None
    for batch in batches:
        sent = _send(batch, device, stream)
        if ahead is not None:
            yield _received(ahead, device)
        ahead = sent
    if ahead is not None:
        yield _received(ahead, device)


def _send(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> _Copied:
    with torch.cuda.stream(stream):
        return _Copied(on_device(batch, device), stream.record_event())


def _received(copied: _Copied, device: torch.device) -> Batch:
    """The batch, for use in the current stream: that one waits for it, the host does not."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied.arrived)
    (numeric, categorical), label = copied.batch
    for tensor in (numeric, categorical, label):
        tensor.record_stream(current)  # its memory is not given away while it is in use there
    return copied.batch
