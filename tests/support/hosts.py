"""Hosts of a small network on this machine, to try what several machines do, and their failures.

Each host is a network namespace with an address, a hostname and an ``/etc/hosts`` of its own; a
switch connects them. They share files and processor. Nothing outside of them sees the network, so
that every test can use the same addresses.

    with hosts(2) as (first, second):
        scheduler = first.start(["dask", "scheduler"], log=folder / "scheduler.log")
        second.run(["dask", "worker", f"{first.address}:8786"])
        second.cut()
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tests.support.processes import TIMEOUT

_PREFIX = "criteo-test-"
_NETWORK = "10.77.0."
_ENTER = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
"""Run by a shell in the host; like all that starts it, it becomes the command, with its id."""


@dataclass(frozen=True)
class Host:
    """One host, as long as its network exists."""

    hostname: str
    """Which all hosts resolve to its address."""
    address: str
    namespace: str
    names: Path
    """Its ``/etc/hosts``; a test may write another one before it starts a command."""
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def start(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        folder: Path = REPOSITORY,
    ) -> "subprocess.Popen[str]":
        """Start a command in this host; the process is the command itself.

        Args:
            command: and its arguments.
            log: file to which it writes its output, behind what is there.
            env: of the process, beside this one's.
            folder: where it runs.
        """
        with log.open("a") as stream:
            process = subprocess.Popen(
                self.entered(command),
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append(process)
        return process

    def run(
        self, command: Sequence[str], *, seconds: float = TIMEOUT
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in this host to its end, with what it prints."""
        return subprocess.run(
            self.entered(command), cwd=REPOSITORY, capture_output=True, text=True, timeout=seconds
        )

    def entered(self, command: Sequence[str]) -> list[str]:
        """The command that enters this host and becomes another one."""
        # Not ``ip netns exec``, which hides /sys/fs/cgroup.
        return [
            "nsenter", f"--net=/run/netns/{self.namespace}",
            "unshare", "--uts", "--mount", "--propagation", "slave",
            "sh", "-c", _ENTER, "sh", self.hostname, str(self.names), *command,
        ]  # fmt: skip

    def processes(self) -> list[int]:
        """Ids of all processes in this host."""
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def kill_all(self) -> None:
        """SIGKILL every process in this host, also those whose parents are gone."""
        _kill_all(self.namespace)

    def lose_power(self) -> None:
        """Kill every process, without a word to the other hosts that a connection is closed."""
        self.cut()
        self.kill_all()

    def cut(self) -> None:
        """Pull the network cable."""
        self._set_link("down")

    def restore(self) -> None:
        """Plug it in again."""
        self._set_link("up")

    def _set_link(self, state: str) -> None:
        # The switch's end of it: the host keeps its addresses and routes, and hears no error.
        _ip("-n", _switch_of(self.namespace), "link", "set", self.hostname, state)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Hosts ``host-1``, ``host-2`` … at 10.77.0.1, 10.77.0.2 …, which end with the block.

    Skips the test, with the reason, where no network can be made.
    """
    if reason := why_no_hosts():
        pytest.skip(reason)
    _remove_abandoned()
    network = f"{_PREFIX}{_process(os.getpid())}-{time.monotonic_ns()}"
    made = [
        (f"host-{number}", f"{_NETWORK}{number}", f"{network}.{number}")
        for number in range(1, count + 1)
    ]
    switch = f"{network}.switch"
    with ExitStack() as stack:
        names = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found: list[Host] = []
        stack.callback(lambda: [p.wait() for host in found for p in host.started])
        _add_namespace(switch, stack)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        known = "127.0.0.1 localhost\n" + "".join(f"{at} {name}\n" for name, at, _ in made)
        for hostname, address, namespace in made:
            _add_namespace(namespace, stack)
            _connect(hostname, address, namespace, switch)
            (names / hostname).write_text(known)
            found.append(Host(hostname, address, namespace, names / hostname))
        yield found


def kill_tree(process: "subprocess.Popen[str]") -> None:
    """SIGKILL a command and all processes that it started, itself first."""
    tree = [process.pid]
    for pid in tree:
        with suppress(FileNotFoundError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                tree += [int(child) for child in (task / "children").read_text().split()]
    for pid in tree:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def why_no_hosts() -> str | None:
    """Why hosts cannot be made here; None where they can."""
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    if missing:
        return f"hosts are made with iproute2 and util-linux: {', '.join(missing)} is missing"
    if os.geteuid() != 0:
        return "hosts are network namespaces, which only root may make"
    name = f"{_PREFIX}{_process(os.getpid())}-{time.monotonic_ns()}.probe"
    try:
        with ExitStack() as stack:
            _add_namespace(name, stack)
            _ip("-n", name, "link", "add", "bridge", "type", "bridge")
            _ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two")
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    return None


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _add_namespace(name: str, stack: ExitStack) -> None:
    _ip("netns", "add", name)
    stack.callback(_remove, name)


def _connect(hostname: str, address: str, namespace: str, switch: str) -> None:
    """Connect a host to the switch, by a cable whose end there bears the host's name."""
    cable = ("link", "add", "eth0", "netns", namespace, "type", "veth")
    _ip(*cable, "peer", "name", hostname, "netns", switch)
    _ip("-n", switch, "link", "set", hostname, "master", "bridge", "up")
    _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
    for link in ("lo", "eth0"):
        _ip("-n", namespace, "link", "set", link, "up")


def _switch_of(namespace: str) -> str:
    return namespace.rpartition(".")[0] + ".switch"


def _remove(namespace: str) -> None:
    """Remove a namespace and its links; one that processes live in would stay without a name."""
    _kill_all(namespace)
    _ip("netns", "delete", namespace)


def _kill_all(namespace: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while living := [int(pid) for pid in _ip("netns", "pids", namespace).split()]:
        assert time.monotonic() < deadline, f"{living} cannot be killed"
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _remove_abandoned() -> None:
    """Remove the networks of tests that were killed."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        owner = name.removeprefix(_PREFIX).rpartition("-")[0]
        if name.startswith(_PREFIX) and _process(int(owner.partition("-")[0])) != owner:
            with suppress(subprocess.CalledProcessError):  # another test removes it just now
                _remove(name)


def _process(pid: int) -> str:
    """A process's id and when it started, for ids are used again; empty where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return ""
    return f"{pid}-{stat.rpartition(')')[2].split()[19]}"
