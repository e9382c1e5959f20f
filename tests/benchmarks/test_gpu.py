"""The GPU's benchmarks: each part within its time, each told of as soon as it ends."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu import Part, command, markdown, parts, run
from benchmarks.gpu_parts import PARTS
from tests.support.paths import REPOSITORY
from tools import gpu_bundle

PART = Part("one", 5, ["machine"])


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def test_every_part_is_one_that_there_is() -> None:
    for tiny in (True, False):
        for part in parts(tiny=tiny):
            if part.is_test:
                assert all((REPOSITORY / path).exists() for path in part.words)
            else:
                assert part.words[0] in PARTS
    names = [part.name for part in parts(tiny=False)]
    assert len(set(names)) == len(names)


def test_a_part_that_hangs_is_ended_and_what_it_said_is_kept() -> None:
    result = run(PART, python("import time; print('begun', flush=True); time.sleep(60)"), 1)
    assert result["timeout"] == 1
    assert "begun" in result["tail"]
    assert result["wall_seconds"] < 30


def test_a_part_that_fails_says_why() -> None:
    result = run(PART, python("raise SystemExit('no such thing')"), 20)
    assert result["code"] == 1
    assert "no such thing" in result["tail"]
    assert "no such thing" in markdown([result])


def test_figures_are_the_last_line() -> None:
    result = run(PART, python("""print('words'); print('{"rows_per_second": 5}')"""), 20)
    assert result["figures"] == {"rows_per_second": 5}
    assert "- rows per second: 5" in markdown([result])


def test_each_line_is_there_as_soon_as_its_part_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def lines() -> int:
        path = tmp_path / "gpu.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def fake(part: Part, words: list[str], seconds: float) -> dict[str, object]:
        seen.append(lines())
        return {"part": part.name, "code": 0, "figures": {}, "wall_seconds": 0}

    monkeypatch.setattr(gpu, "run", fake)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path), "--tiny", "--device", "cpu"])
    assert gpu.main() == 0
    assert seen == list(range(len(parts(tiny=True))))
    written = (tmp_path / "gpu.jsonl").read_text().splitlines()
    names = [json.loads(line)["part"] for line in written]
    assert names == [part.name for part in parts(tiny=True)]


def test_without_time_left_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["gpu", "--out", str(tmp_path), "--minutes", "0", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert gpu.main() == 0
    assert "no time left" in (tmp_path / "gpu.md").read_text()


def test_tests_run_as_they_are_meant_to() -> None:
    words = command(Part("tests", 5, ["tests/sparse"], is_test=True), "cuda", tiny=False)
    assert words[-3:] == ["-m", "gpu", "tests/sparse"]
    assert "--collect-only" not in words


def test_the_bundle_leaves_room_for_the_wheels() -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a checkout")
    assert gpu_bundle.tracked_bytes() + (57 << 20) < gpu_bundle.LIMIT
    assert "benchmarks.gpu" in gpu_bundle.COMMAND
