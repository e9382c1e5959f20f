"""Copies on a host's disk: one for all its processes, gone after the last of them."""

import os
import signal
import time
from multiprocessing.util import get_temp_dir
from pathlib import Path

import pytest

from criteo_stream.base.errors import OutputError
from criteo_stream.prepare import host_copies
from criteo_stream.prepare.host_copies import HostCopies
from criteo_stream.prepare.work_records import Written
from tests.support.processes import on_ranks, wait_for

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's own disk."""
    get_temp_dir()  # of processes that are started, whose sockets need a short path
    found = tmp_path / "disk"
    found.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(found))
    return found


@pytest.fixture
def lookup(tmp_path: Path) -> Path:
    path = tmp_path / "C1.lookup"
    path.write_bytes(CONTENT)
    return path


def files(disk: Path) -> list[str]:
    return sorted(path.name for path in disk.rglob("*") if path.is_file())


def test_a_copy_is_there_as_long_as_it_is_used(lookup: Path, disk: Path) -> None:
    first, second = HostCopies(), HostCopies()
    copy = first.of(lookup, Written.of(lookup), "one")
    assert copy.read_bytes() == CONTENT
    made = copy.stat().st_ino
    assert second.of(lookup, Written.of(lookup), "one").stat().st_ino == made
    first.close()
    assert copy.read_bytes() == CONTENT
    HostCopies().close()  # another comes by
    assert files(disk) == ["one"]
    second.close()
    assert files(disk) == []
    second.close()


def test_the_folder_is_for_its_user_alone(lookup: Path, disk: Path) -> None:
    copies = HostCopies()
    (folder,) = disk.iterdir()
    assert folder.name == f"criteo-stream-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    copies.close()


def test_what_killed_processes_left_is_removed(lookup: Path, disk: Path) -> None:
    HostCopies().close()
    (folder,) = disk.iterdir()
    for name in ("abandoned", ".half.partial", ".half.0123456789abcdef.partial"):
        (folder / name).write_bytes(b"left")
    copies = HostCopies()
    assert files(disk) == []
    copies.close()


def use(rank: int, folder: Path, ranks: int) -> None:
    """Use a copy together with others; notes how often it was copied."""
    host_copies.tempfile.tempdir = str(folder / "disk")  # type: ignore[attr-defined]
    real = host_copies.shutil.copyfile  # type: ignore[attr-defined]

    def counted(source: Path, to: Path) -> None:
        (folder / f"copied-{to.name}-{rank}").touch()
        real(source, to)
        time.sleep(0.05)

    host_copies.shutil.copyfile = counted  # type: ignore[attr-defined]
    together(folder, f"ready-{rank}", "ready-*", ranks)
    copies = HostCopies()
    for number in range(5):
        source = folder / f"{number}.lookup"
        copy = copies.of(source, Written.of(source), f"copy-{number}")
        assert copy.read_bytes() == source.read_bytes()
    together(folder, f"held-{rank}", "held-*", ranks)
    assert len(files(folder / "disk")) == 5
    copies.close()


def together(folder: Path, mine: str, all_of: str, ranks: int) -> None:
    (folder / mine).touch()
    wait_for(lambda: len(list(folder.glob(all_of))) >= ranks)


def test_of_several_processes_one_copies(tmp_path: Path, disk: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.lookup").write_bytes(bytes([number]) * 300_000)
    on_ranks(use, tmp_path, 4, ranks=4)
    assert len(list(tmp_path.glob("copied-*"))) == 5
    assert files(disk) == []


def come_and_go(rank: int, folder: Path) -> None:
    """Take copies and let go of them, again and again."""
    host_copies.tempfile.tempdir = str(folder / "disk")  # type: ignore[attr-defined]
    source = folder / "C1.lookup"
    written = Written.of(source)
    for number in range(60):
        copies = HostCopies()
        copy = copies.of(source, written, f"copy-{(rank + number) % 2}")
        assert copy.read_bytes() == CONTENT
        copies.close()


def test_processes_that_come_and_go_do_not_disturb_each_other(lookup: Path, disk: Path) -> None:
    on_ranks(come_and_go, lookup.parent, ranks=4)
    assert files(disk) == []


def hold_and_die(rank: int, folder: Path) -> None:
    host_copies.tempfile.tempdir = str(folder / "disk")  # type: ignore[attr-defined]
    source = folder / "C1.lookup"
    HostCopies().of(source, Written.of(source), "one")
    if rank == 0:
        (folder / "held").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_holds_nothing(lookup: Path, disk: Path) -> None:
    with pytest.raises(AssertionError, match="exit codes by rank"):
        on_ranks(hold_and_die, lookup.parent, ranks=1)
    assert files(disk) == ["one"]
    HostCopies().close()
    assert files(disk) == []


def test_an_end_of_the_process_lets_go(lookup: Path, disk: Path) -> None:
    on_ranks(hold_without_closing, lookup.parent, ranks=1)
    HostCopies().close()
    assert files(disk) == []


def hold_without_closing(rank: int, folder: Path) -> None:
    hold_and_die(rank + 1, folder)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_source_is_told_and_leaves_nothing(lookup: Path, disk: Path, damage: str) -> None:
    written = Written.of(lookup)
    if damage == "missing":
        lookup.unlink()
    else:
        lookup.write_bytes(CONTENT[:-1] + (b"\0" if damage == "flipped" else b""))
    copies = HostCopies()
    what = "missing" if damage == "missing" else "damaged"
    with pytest.raises(OutputError, match=rf"C1\.lookup is {what}.*start over with --restart"):
        copies.of(lookup, written, "one")
    assert files(disk) == []
    copies.close()


def test_a_copy_that_differs_is_not_used(
    lookup: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.copyfile", lambda _, to: to.write_bytes(CONTENT[1:]))
    copies = HostCopies()
    with pytest.raises(OutputError, match="one does not hold what was copied from"):
        copies.of(lookup, Written.of(lookup), "one")
    assert files(disk) == []
    copies.close()


def test_a_full_disk_is_told(lookup: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path, to: Path) -> None:
        to.write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    copies = HostCopies()
    with pytest.raises(OutputError, match=r"the disk is full while writing .*/one; .*run the same"):
        copies.of(lookup, Written.of(lookup), "one")
    assert files(disk) == []
    copies.close()


@pytest.mark.parametrize("kind", ["link", "file", "foreign"])
def test_a_folder_of_others_is_refused(disk: Path, tmp_path: Path, kind: str) -> None:
    folder = disk / f"criteo-stream-{os.getuid()}"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_bytes(b"theirs")
    if kind == "link":
        folder.symlink_to(theirs)
    elif kind == "file":
        folder.write_bytes(b"theirs")
    else:
        if os.getuid():
            pytest.skip("needs the right to give a folder to another user")
        folder.mkdir()
        (folder / "file").write_bytes(b"theirs")
        os.chown(folder, 4321, 4321)
    with pytest.raises(OutputError, match="is not a folder of yours: set TMPDIR to a folder"):
        HostCopies()
    assert (theirs / "file").exists()
    assert kind != "foreign" or (folder / "file").exists()
