"""Everything that needs a GPU, most important first, within some minutes.

    python -m benchmarks.gpu --out DIR [--minutes 8] [--device cuda] [--tiny]

Tests first: kernels against the reference, a step without waiting, whole runs against the CPU,
bit-identical resumes, ranks. Then a training step at three batch sizes against the stock recipe,
against dense Adam and against the bytes that must move; training end to end; preparing and reading
with more and more threads. Every part has its own process and its own limit of time, and its line
in ``DIR/gpu.jsonl`` and ``DIR/gpu.md`` as soon as it ends: a run cut short tells what it did.

``--device cpu --tiny`` tries all parts without a GPU. `tools.gpu_bundle` packs what a machine
without network needs.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_LEAST_SECONDS: Final = 8.0
"""With less time left, a part is not begun."""


@dataclass(frozen=True)
class Part:
    """Something to run in a process of its own."""

    name: str
    limit: float
    """Seconds."""
    words: list[str] = field(default_factory=list)
    """Of `benchmarks.gpu_parts`, or of pytest."""
    is_test: bool = False


def parts(*, tiny: bool) -> list[Part]:
    """All parts in their order."""
    sizes = (512, 256, 1024) if tiny else (65536, 8192, 262144)
    rows = "20000" if tiny else "4000000"
    tests = {
        "tests: kernels": ["tests/sparse"],
        "tests: steps": ["tests/train/test_no_waiting.py", "tests/train/test_fused_step.py"],
        "tests: runs": ["tests/train/test_gpu.py", "tests/base/test_devices.py", "tests/data"],
    }
    return [
        Part("machine", 40, ["machine"]),
        *(Part(name, 100, paths, is_test=True) for name, paths in tests.items()),
        *(Part(f"step, batch {n}", 60, ["step", "--batch", str(n)]) for n in sizes),
        *(
            Part(f"{kind}, batch {n}", 45, [kind, "--batch", str(n)])
            for n in sizes[:2]
            for kind in ("stock", "dense")
        ),
        Part("prepare", 120, ["prepare", "--rows", rows]),
        *(Part(f"train, batch {n}", 60, ["train", "--batch", str(n)]) for n in sizes),
        Part("kernels", 60, ["kernels", "--batch", str(sizes[0])]),
        Part("loader", 60, ["loader", "--batch", str(sizes[0])]),
        Part("train deepfm", 60, ["train", "--batch", str(sizes[1]), "--model", "deepfm"]),
        *(
            Part(f"prepare, {n} threads", 90, ["threads", "--threads", str(n)])
            for n in (16, 8, 4, 2, 1)
        ),
    ]


def command(part: Part, device: str, *, tiny: bool) -> list[str]:
    """What a part's process runs."""
    if part.is_test:
        # Without a GPU, only that the tests can be collected.
        mode = ["-m", "gpu"] if device == "cuda" else ["-m", "gpu", "--collect-only"]
        options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "default", "--tb=short"]
        return [sys.executable, "-m", "pytest", *options, *mode, *part.words]
    words = [*part.words, "--device", device, *(["--tiny"] if tiny else [])]
    return [sys.executable, "-m", "benchmarks.gpu_parts", *words]


def run(part: Part, words: list[str], seconds: float) -> dict[str, Any]:
    """Run a part's process, at most so long; whatever it started ends with it."""
    start = time.monotonic()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
        ended: dict[str, Any] = {"code": process.returncode}
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        ended = {"code": None, "timeout": round(seconds)}
    ended |= {"part": part.name, "wall_seconds": round(time.monotonic() - start, 1)}
    lines = output.strip().splitlines()
    if part.is_test:
        ended["result"] = lines[-1] if lines else ""
    elif ended["code"] == 0:
        ended["figures"] = json.loads(lines[-1])
    if ended["code"] != 0:
        ended["tail"] = output[-4000:]
    return ended


def markdown(results: list[dict[str, Any]]) -> str:
    """All results so far, for people."""
    text = ["# On a GPU\n"]
    for result in results:
        code = result.get("code")
        state = "" if code == 0 else f" — {result.get('skipped') or f'failed (code {code})'}"
        text.append(f"## {result['part']}{state}\n")
        if "result" in result:
            text.append(f"`{result['result']}`, {result['wall_seconds']} s\n")
        figures = result.get("figures", {})
        text += [f"- {key.replace('_', ' ')}: {value}" for key, value in figures.items()]
        if result.get("tail"):
            text.append("```\n" + result["tail"][-1500:] + "\n```")
        text.append("")
    return "\n".join(text)


def main() -> int:
    """Run all parts; the number that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--minutes", type=float, default=8, help="for all parts together")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="to try it, not to measure")
    parser.add_argument("--only", action="append", help="parts whose name begins so")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    results: list[dict[str, Any]] = []
    for part in parts(tiny=arguments.tiny):
        if arguments.only and not part.name.startswith(tuple(arguments.only)):
            continue
        left = end - time.monotonic()
        if left < _LEAST_SECONDS:
            result = {"part": part.name, "code": None, "skipped": "no time left"}
        else:
            words = command(part, arguments.device, tiny=arguments.tiny)
            result = run(part, words, min(part.limit, left))
        results.append(result)
        line = json.dumps(result)
        print(line[:600], flush=True)
        with (arguments.out / "gpu.jsonl").open("a") as file:
            file.write(line + "\n")
        (arguments.out / "gpu.md").write_text(markdown(results))
    return sum(r["code"] not in (0, None) or "timeout" in r for r in results)


if __name__ == "__main__":
    sys.exit(main())
