"""Compiled kernels for the CPU where numba is installed, with the bits of PyTorch's operations.

numba is the extra ``fast-cpu``. Kernels run on as many threads as PyTorch: the caller and helpers
of our own. A helper that has not begun when the work is done is not waited for, so that a core
that other programs hold delays nothing.
"""

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

_off: ContextVar[bool] = ContextVar("off", default=False)

Kernel = Callable[..., None]


class Kernels(NamedTuple):
    """Compiled functions of `kernels`; call them by `run`."""

    sort_columns: Kernel
    join_columns: Kernel
    count_merged: Kernel
    add_merged: Kernel
    gather: Kernel
    adam: Kernel
    rows_at_once: int
    """Table rows of a task of `gather` and `adam`."""


def kernels(*tensors: torch.Tensor) -> Kernels | None:
    """The compiled kernels; None where PyTorch has to do the work.

    Args:
        *tensors: to work on: in the CPU's memory, contiguous, of int32, int64 or float32 numbers.
    """
    if _off.get() or not all(map(_fits, tensors)):
        return None
    return _compiled()


@contextmanager
def unaccelerated() -> Iterator[None]:
    """Leave everything to PyTorch, to compare."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def run(kernel: Kernel, tasks: int, *arguments: Any) -> None:
    """Call a kernel on as many threads as PyTorch uses, at most one for every task.

    Raises:
        IndexError: a row lies outside of its table.
    """
    control = np.zeros(2, np.int64)
    helpers = min(torch.get_num_threads(), tasks) - 1
    pool = _pool(os.getpid()) if helpers > 0 else None
    helping = [pool.submit(kernel, control, *arguments) for _ in range(helpers)] if pool else []
    try:
        kernel(control, *arguments)
    finally:
        for helper in helping:
            if not helper.cancel():
                helper.result()
    if control[1]:
        raise IndexError("a look-up is outside of its table")


def _fits(tensor: torch.Tensor) -> bool:
    return (
        tensor.device.type == "cpu"
        and tensor.dtype in (torch.int32, torch.int64, torch.float32)
        and tensor.is_contiguous()
    )


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Helpers of a process: one that was forked has none of its parent's threads."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="sparse-kernels")


@functools.cache
def _compiled() -> Kernels | None:
    """Compile the kernels, or read what an earlier process compiled; None without numba."""
    try:
        import numba

        from criteo_stream.sparse.kernels import OPTIONS, ROWS_AT_ONCE, SIGNATURES
    except ImportError:  # not installed, or not for this NumPy
        return None

    def compiled(*, cache: bool) -> Kernels:
        made = {
            function.__name__: numba.njit(f"void({', '.join(types)})", **OPTIONS, cache=cache)(
                function
            )
            for function, types in SIGNATURES.items()
        }
        return Kernels(**made, rows_at_once=ROWS_AT_ONCE)

    try:
        return compiled(cache=_can_cache())
    except OSError:  # the disk is full
        return compiled(cache=False)


def _can_cache() -> bool:
    """Whether compiled kernels can be kept where Python keeps its own compiled files.

    Nowhere else, unless numba was told so: a command writes into no folder that it was not given.
    """
    folder = Path(__file__).parent
    own = folder / "__pycache__"
    return "NUMBA_CACHE_DIR" in os.environ or os.access(own if own.exists() else folder, os.W_OK)
