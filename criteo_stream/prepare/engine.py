"""Who runs the tasks: the threads of this process, or the workers of a Dask cluster.

Both are executors of `concurrent.futures`, and nothing else of a cluster is used.
"""

import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from criteo_stream.base.errors import CriteoStreamError
from criteo_stream.prepare.host import Host
from criteo_stream.prepare.memory_budget import MemoryBudget
from criteo_stream.prepare.read_watch import TooManyRejectsError
from criteo_stream.prepare.stage_plan import StoppedError

Task = Callable[[str, int], None]

_POLL_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 30.0
"""How long tasks that run may take to notice that they are no longer wanted."""


class RunsTasks(Protocol):
    """Runs tasks of one plan; see `run_tasks`."""

    def __call__(
        self,
        task: Task,
        *,
        numbers: Sequence[int],
        done: Callable[[int], None] = ...,
        meanwhile: Callable[[], None] = ...,
    ) -> None:
        """Do the task for all numbers."""
        ...


def run_tasks(
    executor: Executor,
    task: Task,
    plan: Path,
    numbers: Iterable[int],
    *,
    done: Callable[[int], None] = lambda _: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Run a stage's tasks; return when all are done.

    Args:
        executor: runs them.
        task: one of `tasks`.
        plan: their plan, which is removed where one fails, so that the others stop.
        numbers: of the pieces of work, those to begin first in front.
        done: is called with each number when its task is done.
        meanwhile: is called every second.

    Raises:
        Exception: what the first task, by number, raised of those that failed.
    """
    finished: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()
    futures: dict[Future[None], int] = {}
    future: Future[None] | None = None
    try:
        for number in numbers:
            future = executor.submit(task, str(plan), number)
            futures[future] = number
            future.add_done_callback(finished.put)
        left = len(futures)
        while left:
            meanwhile()
            with suppress(queue.Empty):
                future = finished.get(timeout=_POLL_SECONDS)
                left -= 1
                future.result()
                done(futures[future])
        meanwhile()
    except BaseException as error:
        plan.unlink(missing_ok=True)
        # A cluster's are cancelled even where they run, and then never said to be done.
        wait([future for future in futures if not future.cancel()], _STOP_SECONDS)
        first = [_first(error, futures)]
        # An error knows this frame, and a future the queue that it is in: what goes round in a
        # circle would live on, with all that it keeps open.
        futures.clear()
        future = None
        while not finished.empty():
            finished.get()
        raise first.pop() from None


def _first(error: BaseException, futures: dict[Future[None], int]) -> BaseException:
    """The error of the first piece of work that failed by itself, if it is one for a user."""
    if not isinstance(error, CriteoStreamError | StoppedError | CancelledError):
        return error
    failed = {}
    for future, number in futures.items():
        if future.done() and not future.cancelled():
            found = future.exception()
            if isinstance(found, CriteoStreamError):
                failed[number] = found
    if isinstance(error, TooManyRejectsError):
        failed.setdefault(error.source, error)
    return failed[min(failed)] if failed else error


class Engine:
    """Runs the tasks of all stages.

    Args:
        executor: runs them.
        host: that of this process, where the tasks run in it; None where they run elsewhere.
    """

    def __init__(self, executor: Executor, host: Host | None) -> None:
        self.executor = executor
        self.host = host

    @property
    def shared(self) -> bool:
        """Whether hosts share the work."""
        return self.host is None


@contextmanager
def local_engine(budget: MemoryBudget) -> Iterator[Engine]:
    """The threads of this process."""
    host = Host(budget)
    try:
        with ThreadPoolExecutor(budget.threads, "task") as executor:
            yield Engine(executor, host)
    finally:
        host.close()
