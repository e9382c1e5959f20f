"""A command that dies by SIGKILL just before one of its calls that change files, each in its turn.

An audit hook in a forked process counts the calls below a folder: opening to write, renaming,
removing, making folders and links, truncating, and syncing.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import forked

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGED = {
    "os.rename": 1,
    "os.link": 1,
    "os.symlink": 1,
    "os.remove": 0,
    "os.mkdir": 0,
    "os.rmdir": 0,
    "os.truncate": 0,
    "os.chmod": 0,
    "shutil.copyfile": 1,
    "shutil.move": 1,
}
"""Audit events, and which of their arguments names what is changed."""


class _Hook:
    """Counts changes below a folder, and ends the process before one of them."""

    def __init__(self, folder: str, die_at: int) -> None:
        self._folder = folder
        self._die_at = die_at
        self._lock = threading.RLock()
        self.changes: list[str] = []

    def install(self) -> None:
        def fsync(file: Any) -> None:
            """Counted and left out: it guards against power cuts, which no test makes."""
            number = file if isinstance(file, int) else file.fileno()
            self._happened("fsync", str(Path(f"/proc/self/fd/{number}").readlink()))

        os.fsync = fsync  # type: ignore[assignment]
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING:
                self._happened(event, path)
        elif event in _CHANGED:
            self._happened(event, arguments[_CHANGED[event]])

    def _happened(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            path = f"/proc/self/fd/{path}"
            with contextlib.suppress(OSError):
                path = Path(path).readlink()
        text = os.fsdecode(path)
        # Trees are removed by names relative to a folder that is open.
        relative = not Path(text).is_absolute() and event in ("os.remove", "os.rmdir")
        if not relative and not Path(text).absolute().is_relative_to(self._folder):
            return
        with self._lock:
            self.changes.append(f"{event} {text.removeprefix(self._folder)}")
            if len(self.changes) == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()


def _child(
    environment: dict[str, str], arguments: Sequence[str], folder: str, die_at: int, told: str
) -> None:
    os.environ.update(environment)
    writes = environment.get("RANK", "0") == "0"
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    if writes:
        with Path(f"{told}.log").open("w") as log:
            os.dup2(log.fileno(), 2)
    import criteo_stream.train.assembly
    from criteo_stream.cli import main

    criteo_stream.train.assembly.plot_all = lambda history, folder: []
    hook = _Hook(folder, die_at)
    if writes:
        hook.install()
    try:
        main(arguments)
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        if writes:
            Path(told).write_text(json.dumps(hook.changes))


def _run(arguments: Sequence[str], folder: Path, die_at: int, told: Path, ranks: int) -> int | None:
    told.unlink(missing_ok=True)
    return forked(_child, list(arguments), str(folder), die_at, str(told), ranks=ranks)


def check_crash_points(
    arguments: Sequence[str],
    folder: Path,
    outcome: Callable[[Path], Any],
    *,
    begin: Callable[[Path], None] = lambda folder: None,
    deaths: int = 1,
    ranks: int = 1,
    choose: Callable[[int], Sequence[int]],
) -> int:
    """Let a command die at many points, run it again, and compare with one that never died.

    Args:
        arguments: of the command; ``{}`` in them stands for the folder that it changes.
        folder: where the attempts are made.
        outcome: what must be equal, of a folder.
        begin: makes what is there before.
        deaths: how often it dies before it is left to finish.
        ranks: of the command; the first one dies.
        choose: the points, counted from 1, of so many.

    Returns:
        How often the command died.
    """

    def fresh() -> Path:
        place = folder / f"attempt-{len(list(folder.glob('attempt-*')))}"
        place.mkdir()
        begin(place)
        return place

    def command(place: Path) -> list[str]:
        return [argument.format(place) for argument in arguments]

    # The folder is part of what some commands write, so all attempts bear one name in the end.
    told = folder / "told"
    place = fresh()
    assert _run(command(place), place, 0, told, ranks) == 0, Path(f"{told}.log").read_text()
    expected = outcome(place)
    changes = json.loads(told.read_text())
    died = 0
    for point in choose(len(changes)):
        place = fresh()
        where = f"death at {point}, before {changes[point - 1]}"
        for again in range(deaths):
            # A second death comes at another place of what is then left to do.
            code = _run(command(place), place, max(1, point // (1 + 2 * again)), told, ranks)
            assert code in (0, -signal.SIGKILL), f"{where}: {Path(f'{told}.log').read_text()}"
            died += code == -signal.SIGKILL
        code = _run(command(place), place, 0, told, ranks)
        assert code == 0, f"{where}: {Path(f'{told}.log').read_text()}"
        assert outcome(place) == expected, where
    return died
