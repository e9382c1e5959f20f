"""The serving example as a real process, for tests and benchmarks."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "serving"


class Server(NamedTuple):
    """A uvicorn process that answers."""

    url: str
    process: subprocess.Popen[str]


def docker_instructions() -> list[tuple[str, str]]:
    """Names of the Dockerfile's instructions, and what follows each."""
    text = (EXAMPLE / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line and line[0] != "#"]
    return [(name, rest) for name, _, rest in lines]


def start_server(run: Path, settings: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start it as the Dockerfile does, but on a free port; it says which on its standard error."""
    (words,) = (json.loads(rest) for name, rest in docker_instructions() if name == "CMD")
    here = {"0.0.0.0": "127.0.0.1", "8000": "0"}
    command = [sys.executable, "-m", *(here.get(word, word) for word in words), "--no-access-log"]
    environment = os.environ | {"CRITEO_RUN": str(run), "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command,
        cwd=EXAMPLE,
        env=environment | dict(settings or {}),
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(run: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server that has loaded a run; ends with the block."""
    process = start_server(run, settings)
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := re.search(r"running on (http://[\d.]+:\d+)", line):
                yield Server(found[1], process)
                return
        raise AssertionError(f"the server did not start: {said}")
    finally:
        process.terminate()
        process.communicate(timeout=60)
