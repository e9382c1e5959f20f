"""Whether a model computes by plain operations alone: in a graph, or for few rows."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _Wanted(threading.local):
    plain = False


_wanted = _Wanted()


@contextmanager
def plain_operations() -> Iterator[None]:
    """Let models of this thread compute as an exported graph does, without sorting ids.

    Sorting pays for batches; for few rows it takes most of the time. Nothing that threads share is
    written to.
    """
    before, _wanted.plain = _wanted.plain, True
    try:
        yield
    finally:
        _wanted.plain = before


def is_exporting() -> bool:
    """Whether plain operations are wanted: those of a graph that is traced without gradients."""
    return not torch.is_grad_enabled() and (torch.compiler.is_compiling() or _wanted.plain)
