"""Every benchmark in its quick setting: ``make bench``.

Keeps each result in ``benchmarks/results`` (see `benchmarks.record`) and writes the tables to
``benchmarks/results/README.md``. Each runs in a process of its own; one that fails is reported, not
skipped. With names or ``--full``, the results are kept and the README stays.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from benchmarks.machine import describe, table, versions
from benchmarks.record import RESULTS, keep

NAMES = ("preprocess", "streams", "loader", "train_step", "family", "train", "ddp", "serving")


def run(name: str, full: bool = False) -> tuple[dict[str, Any] | None, str]:
    """Run one benchmark: its figures and its Markdown, or what it said when it failed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *([] if full else ["--quick"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, f"failed with code {done.returncode}:\n\n```\n{done.stderr[-2000:]}\n```"
    *text, last = done.stdout.rstrip().split("\n")
    return json.loads(last), "\n".join(text)


def main() -> int:
    """Run all, or those named; the number that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--full", action="store_true", help="the full setting, minutes each")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: {', '.join(NAMES)}")
    parts = ["# Results of `make bench`\n", table([describe() | versions()]), ""]
    failed = 0
    for name in arguments.names or NAMES:
        start = time.perf_counter()
        figures, text = run(name, arguments.full)
        seconds = time.perf_counter() - start
        print(f"{name}: {'done' if figures else 'FAILED'} in {seconds:.0f} s", flush=True)
        parts.append(f"## {name}\n")
        if figures is None:
            failed += 1
        else:
            path = keep({**figures, "setting": "full" if arguments.full else "quick"})
            print(f"  {path}")
            parts.append(f"[{path.name}]({path.name})\n")
        parts += [text, ""]
    if not (arguments.names or arguments.full):
        (RESULTS / "README.md").write_text("\n".join(parts))
        print(f"results: {RESULTS / 'README.md'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
