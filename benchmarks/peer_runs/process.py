"""A process that is watched: its memory, its time, what it said when it failed."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from criteo_stream.memory import tree_bytes


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    peak_bytes: int
    """Of its tree, sampled: ``Pss_Anon + Pss_Shmem``."""
    error: str = ""
    """Why it is no success; empty if it is one."""


def watch(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], limit: float
) -> Ended:
    """Run a command in a folder; its group is killed when the limit of seconds is over."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        peak, wait, end = 0, 0.1, time.monotonic() + limit
        try:
            while process.poll() is None and time.monotonic() < end:
                start = time.thread_time()
                peak = max(peak, tree_bytes(process.pid))
                wait = max(0.1, 50 * (time.thread_time() - start))  # a fiftieth of a core
                _wait(process, min(wait, end - time.monotonic()))
            late = process.poll() is None
        finally:
            _kill(process)
        if late:
            return Ended(peak, f"not done within {limit:.0f} s")
        said.seek(0)
        text = said.read().decode(errors="replace")
    if process.returncode:
        return Ended(peak, last_line(text) or f"ended with code {process.returncode}")
    return Ended(peak)


def last_line(text: str) -> str:
    """What an error came to: the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(seconds, 0.01))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # nothing of it is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
