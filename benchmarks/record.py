"""What a result says about its origin, and the file it is kept in.

Results are never overwritten: the file is ``WHAT_HARDWARE_YYYYMMDD.json``, and a second run on the
same day goes to ``WHAT_HARDWARE_YYYYMMDD-2.json``.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, versions

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

# What vendors put into a CPU's name and nobody says: marks, clock rate, number of cores.
_NOISE = re.compile(r"\((r|tm|c)\)|@.*|\b(cpu|processor|\d+-core)\b", re.IGNORECASE)


def commit() -> str:
    """Hash of the code that runs, ending in ``-dirty`` if it was changed; ``unknown`` without git.

    Only tracked files count as code.
    """
    hash_ = _git("rev-parse", "HEAD")
    if hash_ is None:
        return "unknown"
    return f"{hash_}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else hash_


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


def origin(benchmark: str, machine: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys that every result starts with.

    Args:
        benchmark: name of the benchmark's module.
        machine: what `describe` found earlier, for a benchmark that has limited its cores since.
    """
    return {
        "benchmark": benchmark,
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": dict(machine or describe()),
        "versions": versions(),
    }


def hardware(machine: Mapping[str, Any]) -> str:
    """A machine as part of a file name: ``2-core-amd-epyc``."""
    cpu = _NOISE.sub(" ", machine["cpu"])
    words = re.findall(r"[a-z0-9]+", cpu.lower())
    return "-".join([str(machine["cores"]), "core", *words])


def keep(result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write a result under the next free name of its benchmark, hardware and date."""
    day = result["date"].replace("-", "")
    stem = f"{result['benchmark']}_{hardware(result['machine'])}_{day}"
    text = json.dumps(result, indent=1) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = folder / f"{stem}{'' if number == 1 else f'-{number}'}.json"
        try:
            with path.open("x") as file:
                file.write(text)
        except FileExistsError:
            continue
        return path
    raise AssertionError("a free number is found")
