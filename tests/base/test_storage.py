"""Files are whole or absent, whatever fails; names and values that are odd are no matter."""

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from criteo_stream.base import storage
from criteo_stream.base.errors import OutputError, RunError, UsageError
from criteo_stream.base.storage import (
    atomic_path,
    file_crc32,
    full_disk_explained,
    locked_folder,
    make_folder,
    refuse_inside,
    utf8_path,
    write_bytes,
    write_json,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

STEPS = ("body", "sync_file", "replace", "sync_folder", "none")
"""What a write does in order; at one of them it fails."""


class PowerCut(BaseException):
    """Ends a process as a signal does: not an Exception."""


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def write(path: Path, content: bytes, fails_at: str, error: BaseException) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if fails_at == "replace":
            patch.setattr(Path, "replace", failing(error))
        elif fails_at in ("sync_file", "sync_folder"):
            patch.setattr(storage, fails_at, failing(error))
        with atomic_path(path) as partial:
            half = len(content) // 2
            with partial.open("xb") as file:
                file.write(content[:half])
                if fails_at == "body":
                    raise error
                file.write(content[half:])


ERRORS = [OSError(errno.EIO, "a broken disk"), OSError(errno.ENOSPC, "full"), PowerCut()]


@given(
    st.lists(
        st.tuples(st.binary(max_size=50), st.sampled_from(STEPS), st.sampled_from(ERRORS)),
        max_size=8,
    )
)
def test_a_file_is_always_what_the_last_whole_write_gave(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[bytes, str, BaseException]],
) -> None:
    path = tmp_path_factory.mktemp("writes") / "file"
    expected: bytes | None = None
    for content, fails_at, error in writes:
        if fails_at == "none":
            write(path, content, fails_at, error)
        else:
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            with pytest.raises(OutputError if full else type(error)):
                write(path, content, fails_at, error)
        if fails_at in ("none", "sync_folder"):  # renamed already
            expected = content
        assert (path.read_bytes() if path.exists() else None) == expected
        assert {p.name for p in path.parent.iterdir()} <= {"file"}


def test_what_a_killed_writer_left_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    killed = (
        "import os, pathlib, sys; from criteo_stream.base.storage import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", killed, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == [".file.partial"]
    write(path, b"whole", "none", PowerCut())  # which creates the temporary file exclusively
    assert path.read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_words(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(OutputError, match=f"the disk is full while writing {tmp_path}; what was"),
        full_disk_explained(tmp_path),
    ):
        raise OSError(number, os.strerror(number))


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "none" / "file", b"")
    with pytest.raises(PermissionError), full_disk_explained(tmp_path):
        raise PermissionError(errno.EACCES, "not yours")


@given(st.binary(max_size=1000), st.integers(1, 100))
def test_checksums(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, chunk_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "sum"
    write_bytes(path, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_CHUNK_BYTES", chunk_bytes)
        assert file_crc32(path) == f"{zlib.crc32(content):08x}"


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES)
@example({"path": os.fsdecode(b"/data/\xff\x7f"), "quotes": "\"'\\", "line": "\u2028"})
def test_json_is_read_back_the_same(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    written = path.read_bytes()
    assert json.loads(written) == json.loads(written.decode()) == value
    write_json(path, value)
    assert path.read_bytes() == written


def test_json_is_written_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "x", {"name": "Café", "rows": [1]})
    assert (tmp_path / "x").read_text() == '{\n "name": "Café",\n "rows": [\n  1\n ]\n}\n'


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_a_path_is_utf_8_or_refused(name: bytes) -> None:
    path = Path(os.fsdecode(name))
    try:
        name.decode()
    except UnicodeDecodeError:
        with pytest.raises(UsageError, match=r"^the path (.|\n)* is not UTF-8: rename it$"):
            utf8_path(path)
    else:
        assert utf8_path(path) == path


def test_nothing_is_written_where_it_could_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(UsageError) as caught:
        write_bytes(path, b"")
    assert str(caught.value) == f"the path {tmp_path}/caf\\xe9 is not UTF-8: rename it"
    assert not list(tmp_path.iterdir())


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    busy = RunError("busy")
    with locked_folder(tmp_path, busy):
        with pytest.raises(RunError, match="busy"), locked_folder(tmp_path, busy):
            raise AssertionError
        with pytest.raises(RunError, match="busy"), locked_folder(tmp_path, busy):
            raise AssertionError
    with pytest.raises(PowerCut), locked_folder(tmp_path, busy):
        raise PowerCut
    with locked_folder(tmp_path, busy):
        pass


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scores[1].csv"
    abandoned = tmp_path / ".scores[1].csv.0123456789abcdef.partial"
    others = [
        tmp_path / ".scores1.csv.0123456789abcdef.partial",
        tmp_path / ".scores[1].csv.partial.x",
    ]
    for found in (abandoned, *others):
        found.write_bytes(b"half")
    with storage.atomic_path(path, shared=True) as first:
        first.write_bytes(b"first")
        assert not abandoned.exists()
        with storage.atomic_path(path, shared=True) as second:
            assert first.exists()
            second.write_bytes(b"second")
    assert path.read_bytes() == b"first", "the last to finish wins"
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_does_not_sync_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuses_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuses_folders)
    make_folder(tmp_path / "a" / "b")
    write_bytes(tmp_path / "a" / "b" / "file", b"x")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"x"

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="broken"):
        make_folder(tmp_path / "c")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with locked_folder(tmp_path, RunError("busy")):
        pass
    assert capsys.readouterr().err.startswith(
        f"warning: the file system of {tmp_path} has no locks"
    )
    number = errno.EIO
    with pytest.raises(OSError, match="error"), locked_folder(tmp_path, RunError("busy")):
        raise AssertionError


def test_every_new_folder_is_synced_into_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(storage, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    make_folder(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3


def test_an_output_is_not_within_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    for out in ("data", "data/run", "link", "link/x/y", "data/../data"):
        with pytest.raises(UsageError, match=r"would write into .*data.*choose another --out"):
            refuse_inside(tmp_path / out, tmp_path / "data")
    for out in ("data2", "data/../run", "other/data"):
        refuse_inside(tmp_path / out, tmp_path / "data")
