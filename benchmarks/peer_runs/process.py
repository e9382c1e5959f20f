"""A process that is watched: its memory, its time, what it said, and who else took the cores."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from criteo_stream.base.memory import process_tree, tree_bytes

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    peak_bytes: int
    """Of its tree, sampled: ``Pss_Anon + Pss_Shmem``."""
    others: float
    """Cores that other processes kept busy meanwhile: what a rate may have suffered from."""
    error: str = ""
    """Why it is no success; empty if it is one."""


class Watch:
    """Samples a process tree."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start, self._busy = time.monotonic(), machine_seconds()
        self._seconds: dict[int, float] = {}
        self.peak_bytes = 0

    def sample(self) -> None:
        """Look at all its processes; the time of those that end is what was seen last."""
        self.peak_bytes = max(self.peak_bytes, tree_bytes(self._pid))
        self._seconds |= dict(tree_seconds(self._pid))

    def others(self) -> float:
        """Busy cores that are not the tree's."""
        busy = machine_seconds() - self._busy - sum(self._seconds.values())
        return max(0.0, busy / (time.monotonic() - self._start))


def watch(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], limit: float
) -> Ended:
    """Run a command in a folder; its group is killed when the limit of seconds is over."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        seen, wait, end = Watch(process.pid), 0.1, time.monotonic() + limit
        try:
            while process.poll() is None and time.monotonic() < end:
                start = time.thread_time()
                seen.sample()
                wait = max(0.1, 50 * (time.thread_time() - start))  # a fiftieth of a core
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.01, min(wait, end - time.monotonic())))
            late = process.poll() is None
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing of it is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        text = said.read().decode(errors="replace")
    error = ""
    if late:
        error = f"not done within {limit:g} s"
    elif process.returncode:
        error = last_line(text) or f"ended with code {process.returncode}"
    return Ended(seen.peak_bytes, seen.others(), error)


def machine_seconds() -> float:
    """CPU seconds that all processes have used."""
    user, nice, system, _, _, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / _TICKS


def tree_seconds(pid: int) -> Iterator[tuple[int, float]]:
    """CPU seconds of a process and its descendants, one by one."""
    for process in process_tree(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ProcessLookupError):  # it ended meanwhile
            continue
        yield process, (int(fields[11]) + int(fields[12])) / _TICKS  # user and system


def last_line(text: str) -> str:
    """What an error came to: the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
