"""What serves where the system lacks what Linux has."""

import errno
import fcntl
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from criteo_stream.base import connections, memory, system
from criteo_stream.base.memory import PeakMemory


def test_cores_are_those_allowed_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 7})
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert system.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert system.cores() == 9
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert system.cores() == 1


@pytest.mark.parametrize(
    ("can", "expected"),
    [(None, ["fsync"]), (True, ["drive"]), (False, ["drive", "fsync"])],
)
def test_syncing_asks_the_drive_where_fsync_does_not(
    monkeypatch: pytest.MonkeyPatch, can: bool | None, expected: list[str]
) -> None:
    asked: list[str] = []

    def call(descriptor: int, command: int) -> int:
        assert (descriptor, command) == (3, 51)
        asked.append("drive")
        if not can:
            raise OSError(errno.ENOTSUP, "not here")
        return 0

    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("fsync"))
    if can is not None:
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        monkeypatch.setattr(fcntl, "fcntl", call)
    system.sync(3)
    assert asked == expected


def refusing(number: int) -> Any:
    def call(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("way", ["own", "absent", errno.EOPNOTSUPP, errno.EINVAL])
def test_space_is_reserved_with_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str | int, size: int
) -> None:
    monkeypatch.setattr(system, "_ZEROS", 1000)
    if way == "absent":
        monkeypatch.delattr(os, "posix_fallocate")
    elif isinstance(way, int):
        monkeypatch.setattr(os, "posix_fallocate", refusing(way))
    path = tmp_path / "file"
    with path.open("w+b") as file:
        system.reserve_space(file, size)
        assert path.stat().st_blocks * 512 >= size, "not a hole, under which a disk can fill up"
    assert path.read_bytes() == bytes(size)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refusing(errno.ENOSPC))
    with (tmp_path / "file").open("w+b") as file, pytest.raises(OSError, match="No space"):
        system.reserve_space(file, 10)
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(("platform", "expected"), [("linux", 7 << 10), ("darwin", 7)])
def test_resident_sizes_are_in_the_units_of_the_system(
    monkeypatch: pytest.MonkeyPatch, platform: str, expected: int
) -> None:
    usage = SimpleNamespace(ru_maxrss=7)
    monkeypatch.setattr(system.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(sys, "platform", platform)
    assert system.peak_resident_bytes() == expected


def test_peak_memory_without_proc_is_the_resident_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "tree_bytes", lambda pid: 0)
    monkeypatch.setattr(memory, "peak_resident_bytes", lambda: 12345)
    with PeakMemory(interval=60) as peak:
        pass
    assert peak.peak_bytes == 12345


def test_open_files_are_listed_by_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path.is_dir
    with Path(os.devnull).open() as file:
        assert file.fileno() in system.open_descriptors()
        monkeypatch.setattr(Path, "is_dir", lambda p: "/proc" not in str(p) and own(p))
        assert file.fileno() in system.open_descriptors()
        monkeypatch.setattr(Path, "is_dir", lambda p: False)
        assert list(system.open_descriptors()) == []


def test_silence_is_noticed_by_the_options_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On macOS the first has another name, and the last is not there."""
    idle = socket.TCP_KEEPIDLE
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", idle, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        connections.fail_when_silent(75)
        options = (socket.IPPROTO_TCP, idle), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert [client.getsockopt(*option) for option in options] == [15, 1]
        client.close()
