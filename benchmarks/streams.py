"""How much time each thread of a preparation needs, from which more cores can be reckoned.

    python -m benchmarks.streams [--quick] [--rows 4M] [--inputs 8]

The same synthetic rows as one input and as several, plain and ``.gz`` (read by Arrow and, where the
extra ``fast-gzip`` is installed, by ISA-L), in turn, each in a process of its own. CPU seconds per
million rows:

* reading: the thread of an input, which decompresses and says where lines end; one an input;
* scratch: the thread that writes an input's blocks;
* pool: all that any number of threads share, in the reading stage: lines counted, parsed, coded;
* fit and encode: whole stages, which any number of threads share.

What one thread must do bounds an input; the sum, divided by the cores, bounds the whole. Prints
Markdown, and the same figures as one line of JSON at the end.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.record import origin

PARTS: Final = ("reading", "scratch", "pool", "fit", "encode", "whole")


class ThreadTimes:
    """CPU time of the threads that run certain methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def of(self, kind: type, name: str, part: str) -> None:
        """Add the time of each call of a method to a part."""
        real: Callable[..., Any] = getattr(kind, name)

        def timed(*arguments: Any) -> Any:
            start = time.thread_time()
            try:
                return real(*arguments)
            finally:
                with self._lock:
                    spent = time.thread_time() - start
                    self.seconds[part] = self.seconds.get(part, 0) + spent

        setattr(kind, name, timed)


def measure(raw: Path, out: Path, isal: bool) -> dict[str, float]:
    """Prepare inputs; CPU seconds per million rows by part, and rows per second."""
    from criteo_stream.prepare.pipeline import preprocess
    from criteo_stream.prepare.stage1_read import ReadWork
    from criteo_stream.raw import decompress

    if not isal:
        decompress._DECODERS.pop("gzip", None)
    times = ThreadTimes()
    times.of(ReadWork, "read", "reading")
    times.of(ReadWork, "_finish", "scratch")
    start = time.process_time()
    result = preprocess(raw, out, quiet=True)
    whole = time.process_time() - start
    million = result.manifest.rows["read"] / 1e6
    stages = {name: s["seconds"] * s["cores"] for name, s in result.stages.items()}
    found = times.seconds | {"fit": stages["fit"], "encode": stages["encode"], "whole": whole}
    found["pool"] = stages["read"] - found["reading"] - found["scratch"]
    figures = {part: found[part] / million for part in PARTS}
    return figures | {"rows_per_second": result.rows_per_second}


def make_inputs(folder: Path, rows: int, inputs: int) -> dict[str, Path]:
    """The same rows as one input and as several, plain and compressed; each a folder."""
    from criteo_stream.synthetic import write_synthetic

    found = {name: folder / name for name in ("1 plain", f"{inputs} plain", "1 gz", f"{inputs} gz")}
    for path in found.values():
        path.mkdir()
    one, several, one_gz, several_gz = found.values()
    with (
        (one / "rows.tsv").open("wb") as plain,
        gzip.open(one_gz / "rows.tsv.gz", "wb", 6) as packed,
    ):
        for number in range(inputs):
            part = several / f"rows_{number}.tsv"
            write_synthetic(part, rows // inputs, start=number * (rows // inputs))
            part.with_name(f"{part.name}.truth.json").unlink(missing_ok=True)
            text = part.read_bytes()
            plain.write(text)
            packed.write(text)
            (several_gz / f"{part.name}.gz").write_bytes(gzip.compress(text, 6))
    return found


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures as Markdown."""
    lines = [f"| input | {' | '.join(PARTS)} | rows/s |", "|---" * (len(PARTS) + 2) + "|"]
    for name, found in figures.items():
        seconds = " | ".join(f"{found[part]:.2f}" for part in PARTS)
        lines.append(f"| {name} | {seconds} | {found['rows_per_second']:,.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="400 k rows, one repetition")
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--inputs", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--isal", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="criteo-stream-") as temporary:
        folder = Path(temporary)
        if arguments.one:
            print(json.dumps(measure(arguments.one, folder / "data", arguments.isal)))
            return
        rows = 400_000 if arguments.quick else arguments.rows
        works: dict[str, list[str]] = {}
        for name, path in make_inputs(folder, rows, arguments.inputs).items():
            works[name] = ["--one", str(path)]
            if name.endswith("gz") and has_isal():
                works[f"{name}, ISA-L"] = [*works[name], "--isal"]
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in works}
        for _ in range(1 if arguments.quick else arguments.repetitions):
            for name, work in works.items():
                command = [sys.executable, "-m", "benchmarks.streams", *work]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
                runs[name].append(json.loads(done.stdout))
    figures = {
        name: {key: median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    print(table(figures))
    print(json.dumps({**origin("streams"), "inputs": figures}))


def has_isal() -> bool:
    """Whether the extra is installed."""
    try:
        import isal  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main()
