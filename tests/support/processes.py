"""Commands of the package as real processes, cheaply: forked from one that has torch loaded.

As a program, ``python -m tests.support.processes PLAN ARGUMENTS…`` does the same under torchrun.
"""

import atexit
import importlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests.support.paths import REPOSITORY

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "criteo_stream.train.trainer",
        "torch._dynamo",  # optimizers load it when first made
        "matplotlib.font_manager",  # lists the fonts
    ]
)
TIMEOUT = 120
"""Seconds after which a process counts as hanging."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to happen to a process: at the n-th call of a function, it does something.

    Beside it, drawing and syncing are left out: they are most of a small run's time.
    """

    target: str = ""
    """Like ``criteo_stream.runs.checkpoint_folder:CheckpointFolder.save``; empty for no plan."""
    call: int = 1
    act: str = "kill"
    """``kill`` itself, ``raise``, ``slow`` (sleep a minute) or send itself a signal by name."""
    when: str = "before"
    rank: int = 0
    attempt: int = 0
    """torchrun's count of restarts at which it happens; -1 for every one."""

    def install(self) -> None:
        """Replace the function in this process."""
        import criteo_stream.train.assembly

        os.fsync = lambda descriptor: None  # type: ignore[assignment]
        criteo_stream.train.assembly.plot_all = lambda history, folder: []
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        here = int(os.environ.get("RANK", 0)) == self.rank and self.attempt in (-1, attempt)
        if self.target and here:
            module, _, path = self.target.partition(":")
            *parents, name = path.split(".")
            owner: Any = importlib.import_module(module)
            for parent in parents:
                owner = getattr(owner, parent)
            setattr(owner, name, self._planned(getattr(owner, name)))

    def _planned(self, original: Callable[..., Any]) -> Callable[..., Any]:
        calls = 0

        def planned(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call and self.when == "before":
                self._happen()
            result = original(*args, **kwargs)
            if calls == self.call and self.when == "after":
                self._happen()
            return result

        return planned

    def _happen(self) -> None:
        if self.act == "raise":
            from criteo_stream.base.errors import DataSetError

            raise DataSetError("part-00007.parquet is damaged: restore it")
        if self.act == "slow":
            Path(os.environ["SLOW_MARK"]).touch()
            time.sleep(60)
        else:
            name = "SIGKILL" if self.act == "kill" else self.act
            os.kill(os.getpid(), signal.Signals[name])


@dataclass
class Running:
    """One process or a group of ranks."""

    processes: list[ForkServerProcess]
    logs: list[Path]
    codes: list[int | None] = field(default_factory=list)

    def wait(self, seconds: float = TIMEOUT) -> list[int | None]:
        """Exit codes by rank, a signal's as minus its number; fails on a hang."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
        hanging = [rank for rank, p in enumerate(self.processes) if p.is_alive()]
        self.kill()
        assert not hanging, f"ranks {hanging} hang:\n{self.text()}"
        return [p.exitcode for p in self.processes]

    def kill(self, rank: int | None = None) -> None:
        """SIGKILL a rank, or all."""
        for process in self.processes if rank is None else [self.processes[rank]]:
            process.kill()

    def lose(self, rank: int) -> list[int | None]:
        """SIGKILL a rank, and end the others as torchrun then does; exit codes by rank."""
        self.kill(rank)
        for process in self.processes:
            process.join(0.2)
            if process.is_alive():
                process.terminate()
        return self.wait(20)

    def send(self, number: signal.Signals, rank: int = 0) -> None:
        """Send a rank a signal."""
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def text(self, rank: int | None = None) -> str:
        """What it printed."""
        logs = self.logs if rank is None else [self.logs[rank]]
        return "\n".join(log.read_text() for log in logs if log.exists())


def start(
    arguments: Sequence[str],
    folder: Path,
    *,
    ranks: int = 1,
    plan: Plan | None = None,
    env: Mapping[str, str] | None = None,
) -> Running:
    """Start ``criteo-stream ARGUMENTS``, on several ranks without torchrun."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        **({"TORCHELASTIC_RUN_ID": "tests"} if ranks > 1 else {}),
        **(env or {}),
    }
    processes, logs = [], []
    for rank in range(ranks):
        log = folder / f"rank-{rank}.log"
        log.unlink(missing_ok=True)
        mine = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        planned = (plan or Plan(), list(arguments))
        call = (_planned, planned, mine, (str(log), str(log)), str(Path.cwd()))
        process = _CONTEXT.Process(target=_run, args=call, daemon=True)
        process.start()
        processes.append(process)
        logs.append(log)
    return Running(processes, logs)


def run(
    arguments: Sequence[str], env: Mapping[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``criteo-stream ARGUMENTS`` to its end, with what it prints.

    Args:
        arguments: of the command line.
        env: of the process, beside this one's; too late for what is read when torch is loaded.
        folder: where it runs; default where this process does.
    """
    return _to_its_end(_main, list(arguments), env, folder)


def run_code(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end, with what it prints."""
    return _to_its_end(_execute, text, {}, folder)


def forked(function: Callable[..., None], *arguments: Any, ranks: int = 1) -> int | None:
    """Call ``function(environment, *arguments)`` in a process per rank, to the end of the first.

    Returns:
        The first rank's exit code; the others are then killed. Fails where it hangs.
    """
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    place |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    processes = []
    for rank in range(ranks):
        mine = place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        call = (mine if ranks > 1 else {}, *arguments)
        processes.append(_CONTEXT.Process(target=function, args=call, daemon=True))
        processes[-1].start()
    processes[0].join(TIMEOUT)
    hangs = processes[0].is_alive()
    for process in processes:
        process.kill()
        process.join()
    assert not hangs, f"{function.__name__}{arguments} hangs"
    return processes[0].exitcode


def on_ranks(function: Callable[..., None], *arguments: Any, ranks: int = 2) -> None:
    """Call ``function(rank, *arguments)`` in a process per rank; fails where one fails or hangs."""
    processes = [
        _CONTEXT.Process(target=function, args=(rank, *arguments), daemon=True)
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * ranks, f"exit codes by rank: {codes}"


def _to_its_end(
    function: Callable[[Any], None], argument: Any, env: Mapping[str, str], folder: Path | None
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as logs:
        streams = str(Path(logs, "stdout")), str(Path(logs, "stderr"))
        where = str(folder or Path.cwd())
        call = (function, argument, {**os.environ, **env}, streams, where)
        process = _CONTEXT.Process(target=_run, args=call, daemon=True)
        process.start()
        process.join(TIMEOUT)
        hangs = process.is_alive()
        process.kill()
        process.join()
        out, err = (Path(stream).read_text() for stream in streams)
    assert not hangs, f"{argument} hangs:\n{err}"
    assert process.exitcode is not None
    return subprocess.CompletedProcess(argument, process.exitcode, out, err)


def _run(
    function: Callable[[Any], None],
    argument: Any,
    env: dict[str, str],
    streams: tuple[str, str],
    folder: str,
) -> None:
    for standard, stream in enumerate(streams, start=1):
        # Both may be one file.
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), standard)
    os.environ.update(env)
    os.chdir(folder)
    try:
        function(argument)
    finally:
        atexit._run_exitfuncs()  # a forked process ends without them


def _main(arguments: list[str]) -> None:
    from criteo_stream.cli import main

    main(arguments)


def _planned(plan_and_arguments: tuple[Plan, list[str]]) -> None:
    plan, arguments = plan_and_arguments
    plan.install()
    _main(arguments)


def _execute(text: str) -> None:
    exec(compile(text, "program", "exec"), {"__name__": "__main__"})


def torchrun(
    arguments: Sequence[str],
    folder: Path,
    *,
    ranks: int = 2,
    restarts: int = 0,
    plan: Plan | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.Popen[str]":
    """``torchrun`` itself, with its output in ``folder/torchrun.log``."""
    folder.mkdir(parents=True, exist_ok=True)
    program = ["criteo_stream"]
    if plan is not None:
        program = ["tests.support.processes", json.dumps(plan.__dict__)]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(ranks), "--max-restarts", str(restarts),
        "-m", *program, *arguments,
    ]  # fmt: skip
    with (folder / "torchrun.log").open("w") as log:
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


def wait_for(condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    """Poll until something is so.

    Raises:
        TimeoutError: it never is: whatever is waited for counts as hanging.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError("it never came to be")
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    _planned((Plan(**json.loads(sys.argv[1])), sys.argv[2:]))
