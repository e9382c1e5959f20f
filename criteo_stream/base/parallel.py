"""Work on several threads: results in order, a bounded number of items in flight."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Apply a function to items on a pool; yield the results in the order of the items.

    At most ``ahead`` items are in flight. They are drawn in the caller's thread, only as fast as
    results are taken. When drawing one fails, the results of those before it come first. When a
    call fails, or the caller stops early, those not yet begun are cancelled.
    """
    pending: deque[Future[Result]] = deque()
    failed: list[Exception] = []
    source = iter(items)
    try:
        while True:
            try:
                pending.append(pool.submit(function, next(source)))
            except StopIteration:
                break
            except Exception as error:
                failed.append(error)
                break
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failed:
            raise failed.pop()
    finally:
        for future in pending:
            future.cancel()
