"""The tasks of a preparation: functions of a path and a number, which any process can run.

The path is that of a plan, in the working folder; the number says which of its pieces of work to
do. What is done goes into the working folder, with a record, and a task that finds the record of
its work has nothing left to do. So a task may run again, on another host, even at the same time.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from criteo_stream.base.errors import DataSetError, InputError, OutputError
from criteo_stream.prepare.host import Host
from criteo_stream.prepare.memory_budget import MemoryBudget
from criteo_stream.prepare.stage1_read import ReadWork
from criteo_stream.prepare.stage2_fit import FitWork
from criteo_stream.prepare.stage3_encode import EncodeWork
from criteo_stream.prepare.stage_plan import StoppedError, read_plan

Work = TypeVar("Work", ReadWork, FitWork, EncodeWork)

_open: Final[dict[Path, Any]] = {}
"""The work of plans that this process has met."""
_hosts: Final[dict[MemoryBudget, Host]] = {}
_lock: Final = threading.Lock()


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
    _open[path] = work
    try:
        yield
    finally:
        del _open[path]


@contextmanager
def _work(plan: str, kind: type[Work]) -> Iterator[Work]:
    with _lock:
        path = Path(plan)
        if path not in _open:
            for other in [known for known in _open if not known.exists()]:
                _open.pop(other).close()
            _open[path] = _opened(path, kind)
        work: Work = _open[path]
    try:
        yield work
    except (InputError, OutputError, DataSetError) as error:
        if work.plan.shared and type(error) in (InputError, OutputError, DataSetError):
            raise type(error)(f"{error} (on {socket.gethostname()})") from error
        raise


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
        raise OutputError(f"{error} (on {socket.gethostname()})") from error
    if plan.budget not in _hosts:
        _hosts[plan.budget] = Host(plan.budget)
    return kind(path, plan, _hosts[plan.budget])
