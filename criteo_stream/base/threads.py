"""Whether the system lets this process start threads: libraries break off where it does not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from criteo_stream.base.errors import CriteoStreamError
from criteo_stream.base.system import cores

_LIBRARIES = 4
"""Thread pools of about a thread per core: linear algebra, Polars, Arrow, PyTorch."""
_OTHERS = 16
"""Arrow's threads for files, ours for reading, loading and measuring."""
_REFUSED = ("can't start new thread", "Resource temporarily unavailable")


def refuse_too_few_threads() -> None:
    """Start as many threads as a command may need, and end them; before libraries are loaded.

    Raises:
        CriteoStreamError: the system refuses them.
    """
    wanted = _LIBRARIES * cores() + _OTHERS
    enough = threading.Event()
    started: list[threading.Thread] = []
    with threads_explained():
        try:
            for _ in range(wanted):
                thread = threading.Thread(target=enough.wait)
                thread.start()
                started.append(thread)
        finally:
            enough.set()
            for thread in started:
                thread.join()


@contextmanager
def threads_explained() -> Iterator[None]:
    """Turn the system's refusal of a thread or a process into an error that says what to do.

    Raises:
        CriteoStreamError: the system refused one.
    """
    try:
        yield
    except (RuntimeError, BlockingIOError) as error:
        if not any(words in str(error) for words in _REFUSED):
            raise
        raise CriteoStreamError(
            f"cannot start a thread or process ({error}): allow more processes (ulimit -u, the "
            "container's pids limit)"
        ) from error
