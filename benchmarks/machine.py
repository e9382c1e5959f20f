"""What a figure was measured on, and how it is shown."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

# Read when torch is loaded, so before it: see `criteo_stream.cli.main`.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def describe() -> dict[str, Any]:
    """CPU, cores this process may use, memory in GB and load average."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 1e9),
        "load": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Python and the packages that a figure depends on most; numba where it is installed."""
    packages = ["torch", "polars", "pyarrow", "numpy"]
    if find_spec("numba"):
        packages.append("numba")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def alternate(
    works: Mapping[str, Callable[[], object]], repetitions: int
) -> dict[str, list[float]]:
    """Seconds of each repetition, taking turns, so that all meet the same noise."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median over the repetitions of how many times faster one is."""
    pairs = zip(seconds[slow], seconds[fast], strict=True)
    return median(s / f for s, f in pairs)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of equal keys as a Markdown table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_cell(row[key]) for key in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
