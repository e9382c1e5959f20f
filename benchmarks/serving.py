"""How fast a program gets probabilities from `load`, and a client from the example's server.

    python -m benchmarks.serving [--quick] [--models fm deepfm …]

In the process, all on one core: a row as line and as dictionary, batches of 100. Over HTTP, on all
cores that there are, clients and server together: one client with one row a request, and several
clients with batches of 100. A million synthetic rows are prepared and trained on before.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the server; read when torch is loaded

from benchmarks.machine import describe, table  # isort: skip (before torch)
from benchmarks.record import ROOT, origin  # isort: skip (before torch)

import httpx
import numpy as np

from criteo_stream import Predictor, TrainConfig, Trainer, load, preprocess
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.synthetic import write_synthetic

BATCH: Final = 100
CLIENTS: Final = 4
_ASKED: Final = 5000
"""Different rows that are asked for."""


def as_dict(line: str) -> dict[str, Any]:
    """A labelled line's values by column."""
    pairs = zip(FEATURE_COLUMNS, line.split("\t")[1:], strict=True)
    return {c: int(text) if c in INTEGER_COLUMNS else text for c, text in pairs if text}


def latencies(ask: Callable[[int], object], times: int) -> list[float]:
    """Milliseconds of each call, after some that do not count."""
    for number in range(times // 10):
        ask(number)
    found = []
    for number in range(times):
        start = time.perf_counter()
        ask(number)
        found.append(1000 * (time.perf_counter() - start))
    return found


def row_of(model: str, what: str, milliseconds: Sequence[float], rate: float) -> dict[str, Any]:
    """A row of the table."""
    p50, p99 = np.quantile(milliseconds, [0.5, 0.99])
    return {
        "model": model,
        "asked": what,
        "p50 ms": round(float(p50), 3),
        "p99 ms": round(float(p99), 3),
        "rows/s": round(rate),
    }


def in_process(model: str, asked: Predictor, lines: list[str], times: int) -> list[dict[str, Any]]:
    """One row at a time, and batches."""
    rows = []
    dicts = [as_dict(line) for line in lines]
    for form, one, many in ((lines, "line", "lines"), (dicts, "dictionary", "dictionaries")):
        for size in (1, BATCH):
            parts: list[Any] = [form[i : i + size] for i in range(0, len(form), size)]
            found = latencies(
                lambda i, parts=parts: asked.predict_proba(parts[i % len(parts)]),  # type: ignore[misc]
                times if size == 1 else max(100, times // 10),
            )
            rate = size * len(found) / sum(found) * 1000
            name = f"1 {one}" if size == 1 else f"{size} {many}"
            rows.append(row_of(model, name, found, rate))
    return rows


@contextmanager
def server(run: Path) -> Iterator[str]:
    """The example's server on a free port: its address."""
    words = ["--factory", "app:create_app", "--port", "0", "--no-access-log"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *words],
        cwd=ROOT / "examples" / "serving",
        env=os.environ | {"CRITEO_RUN": str(run), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"running on (http://[\d.]+:\d+)", line):
                yield found[1]
                return
        raise RuntimeError("the server did not start")
    finally:
        process.terminate()
        process.wait()


def over_http(model: str, run: Path, lines: list[str], times: int) -> list[dict[str, Any]]:
    """One client with single rows, then several at once with batches."""
    rows = [as_dict(line) for line in lines]
    with server(run) as url:

        def client(size: int, requests: int) -> list[float]:
            bodies = [
                json.dumps({"rows": rows[i : i + size]}).encode() for i in range(0, len(rows), size)
            ]
            with httpx.Client(base_url=url, headers={"content-type": "application/json"}) as own:

                def ask(number: int) -> None:
                    own.post("/predict", content=bodies[number % len(bodies)]).raise_for_status()

                return latencies(ask, requests)

        single = client(1, times // 2)
        with ThreadPoolExecutor(CLIENTS) as pool:
            start = time.perf_counter()
            requests = max(50, times // 20)
            found = [*pool.map(lambda _: client(BATCH, requests), range(CLIENTS))]
            seconds = time.perf_counter() - start
        many = [one for part in found for one in part]
        asked = BATCH * CLIENTS * (requests + requests // 10)
        return [
            row_of(model, "HTTP, 1 dictionary, 1 client", single, 1000 * len(single) / sum(single)),
            row_of(model, f"HTTP, {BATCH} dictionaries, {CLIENTS} clients", many, asked / seconds),
        ]


def main() -> None:
    """Measure; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows and requests")
    parser.add_argument("--models", nargs="+", default=["fm", "deepfm"])
    arguments = parser.parse_args()
    machine = describe()
    cores = os.sched_getaffinity(0)
    times = 1000 if arguments.quick else 5000
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="criteo-stream-") as name:
        folder = Path(name)
        write_synthetic(folder / "raw.tsv", 50_000 if arguments.quick else 1_000_000)
        with (folder / "raw.tsv").open() as file:
            lines = [next(file).rstrip("\n") for _ in range(_ASKED)]
        preprocess(folder / "raw.tsv", folder / "data", quiet=True)
        for model in arguments.models:
            run = folder / model
            Trainer(folder / "data", run, TrainConfig(model=model, epochs=1), quiet=True).fit()
            os.sched_setaffinity(0, {min(cores)})
            rows += in_process(model, load(run), lines, times)
            os.sched_setaffinity(0, cores)
            rows += over_http(model, run, lines, times)
    print(table(rows))
    print(json.dumps({**origin("serving", machine), "rows": rows}))


if __name__ == "__main__":
    main()
