"""The tasks of a preparation: functions of a path and a number, which any process can run.

The path is that of a plan, in the working folder; the number says which of its pieces of work to
do. What is done goes into the working folder, with a record, and a task that finds the record of
its work has nothing left to do. So a task may run again, on another host, even at the same time.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeVar

from criteo_stream.base.errors import CriteoStreamError, DataSetError, InputError, OutputError
from criteo_stream.prepare.host import Host
from criteo_stream.prepare.memory_budget import MemoryBudget
from criteo_stream.prepare.read_watch import TooManyRejectsError
from criteo_stream.prepare.stage1_read import ReadWork
from criteo_stream.prepare.stage2_fit import FitWork
from criteo_stream.prepare.stage3_encode import EncodeWork
from criteo_stream.prepare.stage_plan import StoppedError, read_plan

Work = TypeVar("Work", ReadWork, FitWork, EncodeWork)

_open: Final[dict[Path, Any]] = {}
"""The work of plans that this process has met."""
_hosts: Final[dict[MemoryBudget, Host]] = {}
_lock: Final = threading.Lock()
_LOOK_SECONDS: Final = 2.0
"""Between two looks at whether a plan is still there."""


def count_source(plan: str, number: int) -> None:
    """Count an input's lines."""
    with _work(plan, ReadWork) as work:
        work.count(number)


def read_source(plan: str, number: int) -> None:
    """Read an input into blocks."""
    with _work(plan, ReadWork) as work:
        work.read(number)


def verify_block(plan: str, number: int) -> None:
    """Compare a block's runs with what was written."""
    with _work(plan, FitWork) as work:
        work.verify(number)


def fit_column(plan: str, number: int) -> None:
    """Merge a column's counts."""
    with _work(plan, FitWork) as work:
        work.fit(number)


def encode_block(plan: str, number: int) -> None:
    """Encode a block into shards."""
    with _work(plan, EncodeWork) as work:
        work.encode(number)


@contextmanager
def at_home(path: Path, work: Work) -> Iterator[None]:
    """Let the tasks of a plan that run in this process do this work."""
    with _lock:
        _open[path] = work
    try:
        yield
    finally:
        with _lock:
            del _open[path]


@contextmanager
def _work(plan: str, kind: type[Work]) -> Iterator[Work]:
    path = Path(plan)
    with _lock:
        if path not in _open:
            _open[path] = _opened(path, kind)
        work: Work = _open[path]
    with _host_named() if work.plan.shared else nullcontext():
        yield work


def _opened(path: Path, kind: type[Work]) -> Work:
    try:
        plan = read_plan(path, kind.plan_of)
    except FileNotFoundError:
        if path.parent.is_dir():
            raise StoppedError from None
        raise OutputError(
            f"{socket.gethostname()} has no {path.parent}: the data set's folder must be on "
            "storage that all hosts share, under one path"
        ) from None
    except OutputError as error:
        raise _at_this_host(error) from error
    if plan.budget not in _hosts:
        _hosts[plan.budget] = Host(plan.budget)
    with _host_named():
        work = kind(path, plan, _hosts[plan.budget])
    threading.Thread(target=_close_unwanted, args=(path,), name="plan", daemon=True).start()
    return work


def _close_unwanted(path: Path) -> None:
    """Wait until a plan is gone, and let go of what its tasks need: the worker may live on."""
    while _is_there(path):
        time.sleep(_LOOK_SECONDS)
    with _lock:
        work = _open.pop(path)
    work.close()


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a disk that is away for a while
        return True


@contextmanager
def _host_named() -> Iterator[None]:
    """Say on which host an error was met; malformed lines are the same on all."""
    try:
        yield
    except TooManyRejectsError:
        raise
    except (InputError, OutputError, DataSetError, OSError) as error:
        raise _at_this_host(error) from error


def _at_this_host(error: Exception) -> CriteoStreamError:
    kinds = (InputError, DataSetError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), OutputError)
    return kind(f"{error} (on {socket.gethostname()})")
