"""Calls in processes of their own: results, errors, interruptions, memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from criteo_stream.base.errors import CriteoStreamError, UsageError
from criteo_stream.base.memory import tree_bytes
from criteo_stream.base.own_process import in_own_process
from tests.support.processes import wait_for

MANY = 200_000_000


def process_id(more: int, to: int) -> tuple[int, int]:
    print("this is no answer")
    return os.getpid(), more + to


def refuse() -> None:
    raise UsageError("what is wrong")


def fail() -> None:
    raise ZeroDivisionError("what is wrong")


def end(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave_behind() -> int:
    globals()["_kept"] = b"1" * MANY
    return tree_bytes(os.getpid())


def wait_after_noting(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def test_a_result_comes_back_whatever_is_printed() -> None:
    found, total = in_own_process(process_id, 1, 2)
    assert found != os.getpid()
    assert total == 3


def test_an_error_is_raised_here() -> None:
    with pytest.raises(UsageError, match=r"^what is wrong$"):
        in_own_process(refuse)
    with pytest.raises(RuntimeError, match=r"(?s)in fail\n.*ZeroDivisionError: what is wrong"):
        in_own_process(fail)


def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(CriteoStreamError, match=r"process of end was ended \(signal 9\)"):
        in_own_process(end, signal.SIGKILL)


def test_what_a_call_leaves_in_memory_goes_with_it() -> None:
    before = tree_bytes(os.getpid())
    assert in_own_process(leave_behind) > MANY
    assert tree_bytes(os.getpid()) - before < MANY // 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_it(tmp_path: Path, number: int) -> None:
    note = tmp_path / "note"
    program = (
        "import signal, sys\n"
        "from criteo_stream.base.own_process import in_own_process\n"
        "from tests.base.test_own_process import wait_after_noting\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        f"in_own_process(wait_after_noting, {str(note)!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: note.exists() and bool(note.read_text()))
        process.send_signal(number)
        assert process.wait(30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
