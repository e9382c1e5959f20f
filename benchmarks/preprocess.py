"""How fast raw logs become a prepared set, beside the speed of parsing them.

    python -m benchmarks.preprocess [--quick] [--rows 4M] [--raw FILE…] [--memory 4GB]

In one run on the same file, alternating, each in a process of its own:

* the parse ceiling: Polars reads the file with its schema, turns hex into uint32, and hands over
  batches of 262,144 rows; nothing is validated, counted or written;
* the whole of `preprocess`: raw lines to checked shards, by stage.

Medians over the repetitions, with the cores in use (CPU seconds per second) and the peak memory of
the process tree. Without ``--raw`` the file is made by `criteo_stream.synthetic`, plain and
``.gz``. Prints Markdown, and the same figures as one line of JSON at the end.
"""

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.record import origin

STAGES: Final = ("read", "fit", "encode")


def ceiling(raw: Path) -> dict[str, float]:
    """Parse a file and do nothing with it."""
    import polars as pl

    from criteo_stream.base.memory import PeakMemory
    from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, LABEL

    schema: dict[str, type[pl.DataType]] = {LABEL: pl.UInt8}
    schema |= dict.fromkeys(INTEGER_COLUMNS, pl.Int32) | dict.fromkeys(
        CATEGORICAL_COLUMNS, pl.String
    )
    hexes = [pl.col(c).str.to_integer(base=16, dtype=pl.UInt32) for c in CATEGORICAL_COLUMNS]
    rows, start, cpu = 0, time.perf_counter(), time.process_time()
    with PeakMemory() as peak:
        lines = pl.scan_csv(raw, separator="\t", has_header=False, schema=schema, quote_char=None)
        for batch in lines.with_columns(hexes).collect_batches(chunk_size=262_144):
            rows += batch.height
    seconds = time.perf_counter() - start
    return {
        "rows_per_second": rows / seconds,
        "cores": (time.process_time() - cpu) / seconds,
        "peak_memory_bytes": peak.peak_bytes,
    }


def whole(raw: Path, out: Path, memory: str) -> dict[str, Any]:
    """Prepare a file."""
    from criteo_stream.prepare.pipeline import preprocess

    cpu = time.process_time()
    result = preprocess(raw, out, memory=memory, quiet=True)
    manifest = result.manifest
    read = manifest.rows["read"]
    shards = [entry for entries in manifest.shards.values() for entry in entries]
    stages = {
        name: {
            "rows_per_second": read / stage["seconds"],
            "cores": stage["cores"],
            "seconds": stage["seconds"],
        }
        for name, stage in result.stages.items()
    }
    return {
        "rows_per_second": read / result.seconds,
        "cores": (time.process_time() - cpu) / result.seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "stages": stages,
        "shard_bytes_per_row": sum(e.bytes for e in shards) / sum(e.rows for e in shards),
    }


def measured(work: str, raw: Path, memory: str) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.preprocess", "--one", work]
    command += ["--raw", str(raw), "--memory", memory]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def compare(raw: Path, repetitions: int, memory: str) -> dict[str, Any]:
    """Ceiling and whole in turn; medians."""
    runs: dict[str, list[dict[str, Any]]] = {"ceiling": [], "whole": []}
    for _ in range(repetitions):
        for work, found in runs.items():
            found.append(measured(work, raw, memory))
    ceilings, wholes = runs["ceiling"], runs["whole"]
    figures: dict[str, Any] = {
        "ceiling": _medians(ceilings),
        "whole": _medians(wholes),
        **{stage: _medians([w["stages"][stage] for w in wholes]) for stage in STAGES},
    }
    figures["share_of_ceiling"] = median(
        w["rows_per_second"] / c["rows_per_second"] for c, w in zip(ceilings, wholes, strict=True)
    )
    return figures


def _medians(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {key: median(r[key] for r in runs) for key in runs[0] if key != "stages"}


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The comparison as Markdown."""
    lines = ["| input | work | rows/s | cores | peak memory |", "|---|---|---|---|---|"]
    for name, found in figures.items():
        for work in ("ceiling", "whole", *STAGES):
            peak = found[work].get("peak_memory_bytes")
            lines.append(
                f"| {name} | {work} | {found[work]['rows_per_second']:,.0f} "
                f"| {found[work]['cores']:.2f} | {f'{peak / 1e6:,.0f} MB' if peak else ''} |"
            )
        lines.append(f"| {name} | **whole / ceiling** | **{found['share_of_ceiling']:.2f}** | | |")
    return "\n".join(lines)


def make_inputs(folder: Path, rows: int) -> list[Path]:
    """The same synthetic rows, plain and compressed."""
    from criteo_stream.synthetic import write_synthetic

    plain = folder / "rows.tsv"
    write_synthetic(plain, rows)
    packed = folder / "packed" / "rows.tsv.gz"
    packed.parent.mkdir()
    with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, 1 << 24)
    return [plain, packed]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="500 k rows, three repetitions")
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--raw", type=Path, nargs="*", help="raw files instead of synthetic ones")
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--repetitions", type=int, default=None, help="default 5, quick 3")
    parser.add_argument("--one", choices=("ceiling", "whole"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one == "ceiling":
        print(json.dumps(ceiling(arguments.raw[0])))
        return
    with tempfile.TemporaryDirectory(prefix="criteo-stream-") as temporary:
        folder = Path(temporary)
        if arguments.one == "whole":
            print(json.dumps(whole(arguments.raw[0], folder / "data", arguments.memory)))
            return
        rows = 500_000 if arguments.quick else arguments.rows
        inputs = arguments.raw or make_inputs(folder, rows)
        repetitions = arguments.repetitions or (3 if arguments.quick else 5)
        figures = {raw.name: compare(raw, repetitions, arguments.memory) for raw in inputs}
        print(table(figures))
        print(json.dumps({**origin("preprocess"), "inputs": figures}))


if __name__ == "__main__":
    main()
