"""The hosts that other tests use are what they say."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.hosts import hosts, kill_tree
from tests.support.processes import wait_for

ABANDON = """
import os, subprocess
from tests.support.hosts import hosts
with hosts(1) as (host,):
    sleeping = subprocess.Popen(host.entered(["sleep", "60"]), stdout=subprocess.DEVNULL)
    print(host.namespace, sleeping.pid, flush=True)
    os._exit(1)
"""


def test_hosts_have_names_addresses_and_a_cable(tmp_path: Path) -> None:
    with hosts(2) as (first, second):
        assert first.run(["hostname"]).stdout == "host-1\n"
        assert "10.77.0.2" in first.run(["getent", "hosts", "host-2"]).stdout
        serve = [sys.executable, "-m", "http.server", "8000"]
        server = first.start(serve, log=tmp_path / "log", folder=tmp_path)
        code = (
            "import urllib.request as u; print(u.urlopen('http://host-1:8000', timeout=1).status)"
        )
        ask = [sys.executable, "-c", code]
        wait_for(lambda: second.run(ask).returncode == 0, 20)
        assert first.processes() == [server.pid], "the process is the command itself"
        first.cut()
        assert second.run(ask).returncode == 1
        first.restore()
        assert second.run(ask).returncode == 0
        shell = first.start(["sh", "-c", "sleep 60 & sleep 60"], log=tmp_path / "log")
        wait_for(lambda: len(first.processes()) == 4)
        kill_tree(shell)
        wait_for(lambda: first.processes() == [server.pid])
        first.kill_all()
        assert first.processes() == []
        assert server.wait(5) == -9


def test_what_a_killed_test_left_is_removed() -> None:
    with hosts(1):  # skips where there are none
        pass
    left = subprocess.run([sys.executable, "-c", ABANDON], stdout=subprocess.PIPE, text=True)
    namespace, pid = left.stdout.split()
    assert Path("/run/netns", namespace).exists()
    with hosts(1):
        assert not Path("/run/netns", namespace).exists()
    assert not Path("/proc", pid).exists() or " Z " in Path("/proc", pid, "stat").read_text()
    assert not any(f"-{os.getpid()}-" in path.name for path in Path("/run/netns").iterdir())
