"""A Dask cluster on several hosts, started as a user starts one, and a preparation on it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.hosts import Host, hosts, kill_tree
from tests.support.paths import REPOSITORY
from tests.support.processes import TIMEOUT

_BIN = Path(sys.executable).parent
PORT = 8786
_QUICK = {
    # A peer that does not answer counts as lost after seconds, not minutes.
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s",
    "PYTHONPATH": str(REPOSITORY),
}


@dataclass
class DaskHosts:
    """The first host has the scheduler and the driver, the others a worker each."""

    all: list[Host]
    folder: Path
    """Where logs and scratch of Dask go."""
    env: dict[str, str] = field(default_factory=dict)
    """Of all workers."""
    workers: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)
    scheduler: "subprocess.Popen[str] | None" = None

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return f"tcp://{self.all[0].address}:{PORT}"

    def start_scheduler(self) -> None:
        """``dask scheduler`` on the first host."""
        command = [str(_BIN / "dask"), "scheduler", "--port", str(PORT), "--no-dashboard"]
        log = self.folder / "scheduler.log"
        self.scheduler = self.all[0].start(command, log=log, env=_QUICK)

    def start_worker(self, host: Host, *, before: str = "true", **env: str) -> None:
        """``dask worker`` on a host.

        Args:
            host: where.
            before: is run by a shell of the host before; what it mounts only the worker sees.
            **env: of the worker, beside that of all.
        """
        scratch = self.folder / f"dask-{host.hostname}"
        temporary = self.folder / f"tmp-{host.hostname}"
        temporary.mkdir(exist_ok=True)
        command = [
            "sh", "-c", f'{before} && exec "$@"', "sh",
            str(_BIN / "dask"), "worker", self.address, "--nthreads", "2", "--no-dashboard",
            "--local-directory", str(scratch), "--preload", "tests.support.slow_tasks",
        ]  # fmt: skip
        self.workers[host.hostname] = host.start(
            command,
            log=self.folder / f"{host.hostname}.log",
            env=_QUICK | {"TMPDIR": str(temporary)} | self.env | env,
        )

    def replace_worker(self, host: Host, *, before: str = "true", **env: str) -> None:
        """Kill the worker of a host and start another one."""
        kill_tree(self.workers[host.hostname])
        self.start_worker(host, before=before, **env)

    def start_driver(
        self, *arguments: str, log: Path, host: Host | None = None, before: str = ""
    ) -> "subprocess.Popen[str]":
        """``criteo-stream preprocess`` on a host, the first if none is given.

        Args:
            *arguments: of the command.
            log: what it says.
            host: where it runs.
            before: Python code that its process runs before.
        """
        program = f"{before}\nfrom criteo_stream.cli import main\nmain()"
        command = [sys.executable, "-c", program, "preprocess", *arguments]
        where = host or self.all[0]
        return where.start([*command, "--cluster", self.address], log=log, env=_QUICK)

    def stop(self) -> None:
        """SIGKILL the scheduler and all workers."""
        for process in [*self.workers.values(), *([self.scheduler] if self.scheduler else [])]:
            kill_tree(process)


@contextmanager
def dask_hosts(workers: int, folder: Path, **env: str) -> Iterator[DaskHosts]:
    """A scheduler and workers, each on a host of its own.

    Args:
        workers: how many.
        folder: for logs and scratch.
        **env: of the workers.
    """
    with hosts(1 + workers) as found:
        cluster = DaskHosts(found, folder, env)
        cluster.start_scheduler()
        for host in found[1:]:
            cluster.start_worker(host)
        try:
            yield cluster
        finally:
            cluster.stop()


def wait_until(holds: Callable[[], object], what: str, seconds: float = TIMEOUT) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)
