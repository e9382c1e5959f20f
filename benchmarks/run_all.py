"""Every benchmark in its quick setting: ``make bench``.

Writes ``benchmarks/results/NAME.json`` and ``benchmarks/results/README.md``, a table each with the
machine's description. Each runs in a process of its own; one that fails is reported, not skipped.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, table

RESULTS = Path(__file__).parent / "results"
NAMES = ("preprocess", "loader", "train_step", "family", "train", "ddp")


def run(name: str) -> tuple[dict[str, Any] | None, str]:
    """Run one benchmark: its figures and its Markdown, or what it said when it failed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, f"failed with code {done.returncode}:\n\n```\n{done.stderr[-2000:]}\n```"
    *text, last = done.stdout.rstrip().split("\n")
    return json.loads(last), "\n".join(text)


def main() -> int:
    """Run all; the number that failed."""
    RESULTS.mkdir(exist_ok=True)
    parts = ["# Results of `make bench`\n", table([describe()]), ""]
    failed = 0
    for name in NAMES:
        start = time.perf_counter()
        figures, text = run(name)
        seconds = time.perf_counter() - start
        print(f"{name}: {'done' if figures else 'FAILED'} in {seconds:.0f} s", flush=True)
        if figures is None:
            failed += 1
        else:
            (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
        parts += [f"## {name}\n", text, ""]
    (RESULTS / "README.md").write_text("\n".join(parts))
    print(f"results: {RESULTS / 'README.md'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
