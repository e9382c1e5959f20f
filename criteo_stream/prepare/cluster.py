"""The workers of a Dask cluster as an engine: the only place that knows Dask.

Only its executor is used. Data and records go through the data set's folder, which all hosts see.
"""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.records import has_names
from criteo_stream.prepare.engine import Engine

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS: Final = 30
_CLOSE_SECONDS: Final = 5
_GREET_SECONDS: Final = 5
_AGAIN: Final = "what was finished is kept: run the same command again to continue"


@contextmanager
def cluster_engine(place: str, tell: Callable[[str], None]) -> Iterator[Engine]:
    """The workers of a cluster.

    Args:
        place: the scheduler's address (``tcp://HOST:8786``), or the scheduler file that it wrote;
            see `check_place`.
        tell: hears of it where there is no worker yet.

    Raises:
        OutputError: the scheduler cannot be reached or ended meanwhile, or a piece of work ended
            every worker that tried it.
    """
    with _without_its_log():
        client = _connected(place)
        try:
            with _told(place):
                executor = client.get_executor(pure=False)
                _greet(executor, place, tell)
                yield Engine(executor, None)
        finally:
            with suppress(Exception):  # it may be gone; what counts is on disk
                client.close(_CLOSE_SECONDS)


def _greet(executor: Executor, place: str, tell: Callable[[str], None]) -> None:
    """Tell of a cluster without workers: the work waits until one comes."""
    try:
        executor.submit(os.getpid).result(_GREET_SECONDS)
    except TimeoutError:
        tell(f"no worker has come yet, and one is waited for: dask worker {place}")


def check_place(place: str) -> None:
    """Refuse what can be no scheduler, before any work is begun.

    Raises:
        UsageError: it is no address and no file, or Dask is not installed.
    """
    if not _is_address(place) and not has_names(Path(place), {"address"}):
        raise UsageError(
            f"--cluster {place} is no address such as tcp://HOST:8786, and no scheduler file"
        )
    if find_spec("distributed") is None:
        raise UsageError(
            "--cluster needs Dask: pip install 'criteo-stream[cluster]', here and on all workers"
        )


def _is_address(place: str) -> bool:
    return "://" in place


@contextmanager
def _without_its_log() -> Iterator[None]:
    """Keep Dask from logging what is said in one sentence: a lost scheduler, with tracebacks."""
    import distributed  # noqa: F401  (it makes its loggers when it is first imported)

    loggers = [logging.getLogger(n) for n in logging.root.manager.loggerDict if _is_its(n)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_its(name: str) -> bool:
    return name.partition(".")[0] in ("distributed", "tornado")


def _connected(place: str) -> "Client":
    from distributed import Client

    class QuietClient(Client):
        def __del__(self) -> None:
            """Not wait a minute, where it could not connect: who connects closes it too."""

    where: dict[str, Any] = {"address" if _is_address(place) else "scheduler_file": place}
    try:
        client: Client = QuietClient(  # type: ignore[no-untyped-call]
            timeout=_CONNECT_SECONDS, set_as_default=False, **where
        )
        return client
    except TypeError as error:
        if "ssl" not in str(error):
            raise
        raise UsageError(
            f"the scheduler at {place} asks for a certificate, and none is set: name it by "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY "
            "(docs/clusters.md)"
        ) from None
    except (OSError, ValueError) as error:  # a timeout is an OSError too
        raise OutputError(
            f"no Dask scheduler answers at {place} ({error}): start one with 'dask scheduler'"
        ) from None


@contextmanager
def _told(place: str) -> Iterator[None]:
    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise OutputError(
            f"{error.allowed_failures + 1} workers of {place} ended one after the other while they "
            f"did the same piece of work (too little memory? see their logs); {_AGAIN}"
        ) from None
    except CancelledError:
        raise OutputError(f"the Dask scheduler at {place} ended or was cut off; {_AGAIN}") from None
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("criteo_stream"):
            raise
        raise OutputError(
            f"a worker of {place} has no criteo-stream: install it on all hosts, and run the same "
            "command again"
        ) from None
