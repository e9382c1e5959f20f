"""Training on two hosts, as a user starts it on each, and what may happen to one of them.

The hosts are network namespaces: skipped where they cannot be made.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from tests.support.hosts import Host, hosts, kill_tree
from tests.support.processes import TIMEOUT, start, wait_for
from tests.support.training import Outcome, as_flags, outcome

PLAN: dict[str, Any] = {"epochs": 3, "evaluate_every": 600, "checkpoint_every": 200}
LONGER: dict[str, Any] = {"epochs": 24, "evaluate_every": 6000, "checkpoint_every": 1000}
"""Long enough for something to happen."""
REPLACEABLE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Without it, torchrun's agents take none in the place of one that is gone."""


class TwoHosts:
    """A training on two hosts, whose run and logs are in one folder."""

    def __init__(self, two: list[Host], data: Path, folder: Path) -> None:
        self.hosts = two
        self.run = folder / "run"
        self.meet_at = two[0].hostname
        self.restarts = 3
        self.plan = LONGER
        self.meeting = "keep_alive_interval=5"
        """Seconds between an agent's signs of life; after three without one it counts as lost."""
        self.env = {"OMP_NUM_THREADS": "1", **REPLACEABLE}
        self.agents: list[Popen[str]] = []
        self._data = data
        self._folder = folder

    def start(self) -> None:
        """Start the same command on both hosts."""
        self.agents = [self._start_on(host) for host in self.hosts]

    def _start_on(self, host: Host) -> Popen[str]:
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", "2",
            "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "job",
            "--rdzv-endpoint", f"{self.meet_at}:29500", "--max-restarts", str(self.restarts),
            "--rdzv-conf", self.meeting, "-m", "criteo_stream",
            "train", str(self._data), "--out", str(self.run), *as_flags(**self.plan),
        ]  # fmt: skip
        return host.start(command, log=self._log(host), env=self.env)

    def start_and_wait_for_the_middle(self) -> None:
        self.start()
        wait_for(lambda: self.last_step() > 60 or not self.all_run())
        assert self.all_run(), self.text()
        assert self.last_step() < 600, "it is too late for something to happen"

    def replace(self, number: int) -> None:
        """Start the command again on a host."""
        self.agents[number] = self._start_on(self.hosts[number])

    def finish(self) -> Outcome:
        """The outcome of the run, after both agents end well."""
        codes = [agent.wait(TIMEOUT) for agent in self.agents]
        assert codes == [0, 0], self.text()
        return outcome(self.run)

    def all_run(self) -> bool:
        return all(agent.poll() is None for agent in self.agents)

    def last_step(self) -> int:
        steps = CheckpointFolder(self.run / "checkpoints").steps()
        return int(steps[-1].name.removeprefix("step-")) if steps else 0

    def text(self, number: int | None = None) -> str:
        chosen = self.hosts if number is None else [self.hosts[number]]
        return "\n".join(self._log(host).read_text() for host in chosen)

    def _log(self, host: Host) -> Path:
        return self._folder / f"{host.hostname}.log"


@pytest.fixture
def training(data: Path, tmp_path: Path) -> Iterator[TwoHosts]:
    with hosts(2) as two:
        yield TwoHosts(two, data, tmp_path)


@pytest.fixture(scope="module")
def one_host(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """The outcome on two ranks of one host, which nothing happens to."""

    def run(**plan: Any) -> Outcome:
        folder = tmp_path_factory.mktemp("one-host")
        command = ["train", str(data), "--out", str(folder / "run"), *as_flags(**plan)]
        running = start(command, folder, ranks=2)
        assert running.wait() == [0, 0], running.text()
        return outcome(folder / "run")

    return run


@pytest.fixture(scope="module")
def undisturbed(one_host: Callable[..., Outcome]) -> Outcome:
    return one_host(**LONGER)


def test_two_hosts_give_the_weights_of_one(
    training: TwoHosts, one_host: Callable[..., Outcome]
) -> None:
    training.env.pop("TORCH_DISABLE_SHARE_RDZV_TCP_STORE")
    training.plan = PLAN
    training.start()
    assert training.finish() == one_host(**PLAN)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_host_is_replaced_and_the_run_goes_on(
    training: TwoHosts, undisturbed: Outcome, lost: int
) -> None:
    """Where the hosts meet, the agent stays; the first rank is on the first host."""
    training.meet_at = training.hosts[1 - lost].hostname
    training.start_and_wait_for_the_middle()
    kill_tree(training.agents[lost])
    time.sleep(2)
    training.replace(lost)
    assert training.finish() == undisturbed
    assert "lost another rank" in training.text(1 - lost)


@pytest.mark.slow
def test_a_host_without_power_is_replaced_and_the_run_goes_on(
    training: TwoHosts, undisturbed: Outcome
) -> None:
    """Nothing says that it is gone; after a minute of silence it counts as gone."""
    training.start_and_wait_for_the_middle()
    training.hosts[1].lose_power()
    wait_for(lambda: "lost another rank" in training.text(0))
    training.hosts[1].restore()
    training.replace(1)
    assert training.finish() == undisturbed


@pytest.mark.slow
def test_a_lost_agent_alone_is_replaced_and_the_run_goes_on(
    training: TwoHosts, one_host: Callable[..., Outcome]
) -> None:
    """Its worker trains on, until the new agent makes all begin again."""
    training.plan = LONGER | {"epochs": 72}
    training.meeting = "keep_alive_interval=1"
    training.start_and_wait_for_the_middle()
    training.agents[1].send_signal(signal.SIGKILL)
    training.agents[1].wait()
    training.replace(1)
    assert training.finish() == one_host(**training.plan)
    assert "stopped at step" in training.text(0)


@pytest.mark.slow
def test_without_the_host_where_they_meet_all_end_and_the_same_commands_continue(
    training: TwoHosts, undisturbed: Outcome
) -> None:
    training.start_and_wait_for_the_middle()
    kill_tree(training.agents[0])
    assert training.agents[1].wait(60) == 1
    training.start()
    assert training.finish() == undisturbed


@pytest.mark.slow
def test_a_network_that_returns_soon_costs_nothing(
    training: TwoHosts, undisturbed: Outcome
) -> None:
    training.start_and_wait_for_the_middle()
    training.hosts[1].cut()
    before = training.last_step()
    time.sleep(10)
    assert training.last_step() - before <= 100, "they wait for each other"
    training.hosts[1].restore()
    assert training.finish() == undisturbed
    assert "lost another rank" not in training.text()


@pytest.mark.slow
def test_a_network_that_stays_away_ends_both_and_the_same_commands_continue(
    training: TwoHosts, undisturbed: Outcome
) -> None:
    training.restarts = 0
    training.start_and_wait_for_the_middle()
    training.hosts[1].cut()
    wait_for(lambda: all("lost another rank" in training.text(number) for number in (0, 1)))
    training.hosts[1].restore()
    wait_for(lambda: all(agent.poll() is not None for agent in training.agents))
    for number in (0, 1):
        text = training.text(number)
        assert text.count("the same command again continues from the last checkpoint") == 1
        assert f"{os.sep}criteo_stream{os.sep}" not in text, "a traceback through the package"
    training.start()
    assert training.finish() == undisturbed


@pytest.mark.slow
def test_a_hostname_that_means_loopback_is_told_and_can_be_helped(
    training: TwoHosts, one_host: Callable[..., Outcome]
) -> None:
    """As Debian writes it into ``/etc/hosts``."""
    for host in training.hosts:
        known = host.names.read_text()
        host.names.write_text(f"127.0.1.1 {host.hostname}\n{known}")
    training.restarts = 0
    training.plan = PLAN
    training.start()
    assert [agent.wait(TIMEOUT) for agent in training.agents] == [1, 1]
    for number in (0, 1):
        told = "error: the other machines cannot reach host-1, whose hostname means 127.0.1.1 there"
        assert training.text(number).count(told) == 1
    training.env["GLOO_SOCKET_IFNAME"] = "eth0"
    training.start()
    assert training.finish() == one_host(**PLAN)
