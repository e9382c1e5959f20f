"""Exactly one process owns a folder that hosts share, whoever dies, sleeps or comes at once."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from criteo_stream.base.errors import OutputError
from criteo_stream.prepare import lease
from criteo_stream.prepare.lease import OWNER_NAME, Owner, leased, wait_for_owner
from tests.support.processes import on_ranks, wait_for

SECONDS = 0.6


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", SECONDS)
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.05)


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def record(folder: Path, owner: Owner) -> None:
    (folder / OWNER_NAME).write_bytes(lease._content(owner))


def silent_owner() -> Owner:
    """One of another host, who will not renew its record."""
    return replace(Owner.this_process(), host="elsewhere", pid=17)


def owner_in(folder: Path) -> Owner:
    found = lease._parsed((folder / OWNER_NAME).read_bytes())
    assert found
    return found


def test_the_record_is_renewed_and_given_back(tmp_path: Path) -> None:
    heard: list[str] = []
    with leased(tmp_path, heard.append) as mine:
        first = owner_in(tmp_path)
        assert first.pid == os.getpid()
        wait_for(lambda: owner_in(tmp_path).renewed >= 3, 10)
        assert owner_in(tmp_path).token == first.token
        mine.check()
    assert not list(tmp_path.iterdir())
    assert not heard
    assert not [t for t in threading.enumerate() if t.name == "lease"]


def test_it_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), leased(tmp_path, print):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changed",
    [{"pid": dead_process()}, {"started": 1}],
    ids=["no such process", "another process of its id"],
)
def test_a_process_of_this_host_that_is_no_more_is_not_waited_for(
    tmp_path: Path, changed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 60)
    heard: list[str] = []
    record(tmp_path, replace(Owner.this_process(), **changed))
    began = time.monotonic()
    with leased(tmp_path, heard.append):
        assert time.monotonic() - began < 5
    assert not heard


@pytest.mark.parametrize("field", ["host", "boot"])
def test_a_process_that_cannot_be_seen_from_here_is_waited_for(tmp_path: Path, field: str) -> None:
    """Of another host, of this one before it was started again, or of a container."""
    owner = replace(Owner.this_process(), pid=dead_process(), **{field: "another"})
    record(tmp_path, owner)
    heard: list[str] = []
    began = time.monotonic()
    with leased(tmp_path, heard.append):
        assert time.monotonic() - began >= SECONDS
    assert heard == [
        f"process {owner.pid} of {owner.host} may still be preparing {tmp_path}: "
        f"waiting {SECONDS:g} s to see"
    ]


def test_processes_of_another_container_are_not_taken_for_ours() -> None:
    program = "from criteo_stream.prepare.lease import Owner; print(Owner.this_process().boot)"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to make a process namespace")
    assert done.stdout.strip() != Owner.this_process().boot


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 501, b"[]", b'{"host": 3}'])
def test_a_record_that_cannot_be_read_is_waited_for(tmp_path: Path, content: bytes) -> None:
    """It may just be written, or tell of a version that says it in another way."""
    (tmp_path / OWNER_NAME).write_bytes(content)
    heard: list[str] = []
    began = time.monotonic()
    with leased(tmp_path, heard.append):
        assert time.monotonic() - began >= SECONDS
    assert heard[0].startswith("another process may still be preparing")
    assert not list(tmp_path.iterdir())


def test_one_who_renews_is_never_taken_over(tmp_path: Path) -> None:
    with leased(tmp_path, print) as mine:
        for _ in range(4):
            with (
                pytest.raises(OutputError, match=f"process {os.getpid()} of .* is preparing"),
                leased(tmp_path, lambda _: None),
            ):
                pass
        mine.check()
    assert not list(tmp_path.iterdir())


def test_the_one_who_came_meanwhile_is_named(tmp_path: Path) -> None:
    record(tmp_path, silent_owner())

    def come(_: str) -> None:
        record(tmp_path, replace(silent_owner(), host="a third", token="0" * 16))

    with pytest.raises(OutputError, match="process 17 of a third is preparing"):
        wait_for_owner(tmp_path, come)


def test_a_record_that_goes_away_ends_the_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, replace(silent_owner(), lease_seconds=600))
    began = time.monotonic()
    with leased(tmp_path, lambda _: (tmp_path / OWNER_NAME).unlink()):
        assert time.monotonic() - began < 60


def test_who_was_taken_over_goes_on_no_more(tmp_path: Path) -> None:
    with leased(tmp_path, print) as mine:
        taken = replace(silent_owner(), token="1" * 16)
        record(tmp_path, taken)
        # At once: it may have slept, and its next write would be into the other's work.
        with pytest.raises(OutputError, match=r"another process went on with .*: let it finish"):
            mine.check()
        time.sleep(2 * SECONDS)
        assert owner_in(tmp_path) == taken, "the record of another was written into"
    assert owner_in(tmp_path) == taken


def test_whose_record_is_gone_goes_on_no_more(tmp_path: Path) -> None:
    with leased(tmp_path, print) as mine:
        (tmp_path / OWNER_NAME).unlink()
        with pytest.raises(OutputError, match="another process went on"):
            mine.check()
    assert not list(tmp_path.iterdir())


def test_a_record_that_is_away_for_a_moment_is_still_ours(tmp_path: Path) -> None:
    """As while others look whose it is."""
    path, aside = tmp_path / OWNER_NAME, tmp_path / "aside"
    with leased(tmp_path, print) as mine:
        path.rename(aside)
        back = threading.Timer(0.15, aside.rename, [path])
        back.start()
        mine.check()
        back.join()
        mine.check()


def test_a_disk_that_is_away_for_a_while_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lease._read

    def fails(path: Path) -> bytes | None:
        raise OSError(5, "Input/output error")

    with leased(tmp_path, print) as mine:
        monkeypatch.setattr(lease, "_read", fails)
        mine.check()
        time.sleep(SECONDS)
        monkeypatch.setattr(lease, "_read", real)
        before = owner_in(tmp_path).renewed
        wait_for(lambda: owner_in(tmp_path).renewed > before, 10)
        mine.check()


def test_a_full_disk_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"), leased(tmp_path, print):
        pass
    assert not list(tmp_path.iterdir())


def take_over(rank: int, folder: Path, ranks: int) -> None:
    lease.LEASE_SECONDS = 5 * SECONDS  # type: ignore[misc]  # the machine may be busy
    (folder / f"ready-{rank}").touch()
    while len(list(folder.glob("ready-*"))) < ranks:
        time.sleep(0.001)
    try:
        with leased(folder / "out", lambda _: None) as mine:
            (folder / f"owner-{rank}").touch()
            while len(list(folder.glob("refused-*"))) < ranks - 1:
                time.sleep(0.01)
                mine.check()
    except OutputError as error:
        if "is preparing" in str(error):
            (folder / f"refused-{rank}").touch()


@pytest.mark.parametrize("before", ["a dead process", "nobody", "a silent owner"])
def test_of_several_who_come_at_once_one_owns_it(tmp_path: Path, before: str) -> None:
    for number in range(3):
        folder = tmp_path / str(number)
        out = folder / "out"
        out.mkdir(parents=True)
        if before == "a dead process":
            record(out, replace(Owner.this_process(), pid=dead_process()))
        elif before == "a silent owner":
            record(out, silent_owner())
        on_ranks(take_over, folder, 4, ranks=4)
        assert len(list(folder.glob("owner-*"))) == 1
        assert len(list(folder.glob("refused-*"))) == 3
        assert not list(out.iterdir())


def test_the_record_says_who_it_is(tmp_path: Path) -> None:
    owner = Owner.this_process()
    content = lease._content(owner)
    assert len(content) == len(lease._content(replace(owner, renewed=10**9)))
    assert json.loads(content) == asdict(owner)
    assert not owner.is_gone


def test_where_the_system_tells_of_no_process_nobody_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an owner that lives would lose the folder to any other process of its host."""
    monkeypatch.setattr(lease, "_boot", lambda: "")
    monkeypatch.setattr(lease, "_started", lambda pid: None)
    owner = Owner.this_process()
    assert not owner.is_gone
