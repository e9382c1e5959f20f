"""Connections to a machine that is gone without a word."""

import sys
import time
from pathlib import Path

from criteo_stream.base.connections import fail_when_silent
from tests.support.hosts import hosts
from tests.support.processes import wait_for

LISTEN = """
import socket, time
server = socket.create_server(("", 5000))
print("here", flush=True)
connection, _ = server.accept()
time.sleep(60)
"""
CONNECT = """
import socket
from criteo_stream.base.connections import fail_when_silent
connection = socket.create_connection(("host-1", 5000), timeout=60)
connection.setblocking(True)
fail_when_silent(3)
print("listens", flush=True)
connection.recv(1)
"""


def test_who_only_listens_hears_that_the_other_end_is_gone(tmp_path: Path) -> None:
    with hosts(2) as (first, second):
        server = first.start([sys.executable, "-c", LISTEN], log=tmp_path / "server.log")
        wait_for(lambda: "here" in (tmp_path / "server.log").read_text())
        client = second.start([sys.executable, "-c", CONNECT], log=tmp_path / "log")
        wait_for(lambda: "listens" in (tmp_path / "log").read_text() or client.poll() is not None)
        time.sleep(4)
        assert client.poll() is None, "silence alone is no fault"
        second.cut()
        assert client.wait(20) == 1
        assert server.poll() is None
        text = (tmp_path / "log").read_text()
        assert "timed out" in text or "No route to host" in text


def test_what_is_no_connection_is_left_alone(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with (tmp_path / "file").open("w"):
        fail_when_silent(60)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
