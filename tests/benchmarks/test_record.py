"""Results are kept under names that say what, on what and when, and none replaces another."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record, run_all

MACHINE = {"cpu": "AMD EPYC", "cores": 2, "memory_gb": 25, "load": 0.5}
RESULT: dict[str, Any] = {
    "benchmark": "ddp",
    "date": "2026-11-27",
    "commit": "abc",
    "machine": MACHINE,
    "versions": {"python": "3.11.7"},
    "rows": [],
}


@pytest.mark.parametrize(
    ("cpu", "cores", "expected"),
    [
        ("AMD EPYC", 2, "2-core-amd-epyc"),
        ("AMD EPYC 7B13 64-Core Processor", 16, "16-core-amd-epyc-7b13"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 8, "8-core-intel-xeon-platinum-8481c"),
        ("aarch64", 4, "4-core-aarch64"),
    ],
)
def test_hardware_is_part_of_a_name(cpu: str, cores: int, expected: str) -> None:
    assert record.hardware({"cpu": cpu, "cores": cores}) == expected


def test_a_result_never_replaces_another(tmp_path: Path) -> None:
    paths = [record.keep({**RESULT, "rows": [number]}, tmp_path) for number in range(3)]
    assert [path.name for path in paths] == [
        "ddp_2-core-amd-epyc_20261127.json",
        "ddp_2-core-amd-epyc_20261127-2.json",
        "ddp_2-core-amd-epyc_20261127-3.json",
    ]
    assert [json.loads(path.read_text())["rows"] for path in paths] == [[0], [1], [2]]


def test_another_day_or_machine_has_a_name_of_its_own(tmp_path: Path) -> None:
    record.keep(RESULT, tmp_path)
    record.keep({**RESULT, "date": "2026-11-28"}, tmp_path)
    record.keep({**RESULT, "machine": {**MACHINE, "cores": 4}}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "ddp_2-core-amd-epyc_20261127.json",
        "ddp_2-core-amd-epyc_20261128.json",
        "ddp_4-core-amd-epyc_20261127.json",
    }


def test_a_result_names_commit_versions_and_machine() -> None:
    found = record.origin("ddp")
    assert list(found) == ["benchmark", "date", "commit", "machine", "versions"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", found["commit"])
    assert found["machine"]["cores"] >= 1
    assert {"python", "torch", "polars", "pyarrow", "numpy"} <= found["versions"].keys()
    assert record.origin("ddp", MACHINE)["machine"] == MACHINE


@pytest.mark.parametrize("edited", [False, True])
def test_changed_code_is_told_from_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "-m", "one")
    (tmp_path / "result.json").write_text("{}")  # untracked files are not the code
    if edited:
        (tmp_path / "code.py").write_text("a = 2\n")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert record.commit() == git("rev-parse", "HEAD") + ("-dirty" if edited else "")


def test_code_without_a_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record.commit() == "unknown"


def test_every_kept_result_is_named_by_what_it_says() -> None:
    paths = sorted(record.RESULTS.glob("*.json"))
    assert {path.name.partition("_2-core")[0] for path in paths} >= set(run_all.NAMES)
    for path in paths:
        found = json.loads(path.read_text())
        day = found["date"].replace("-", "")
        stem = f"{found['benchmark']}_{record.hardware(found['machine'])}_{day}"
        assert re.fullmatch(re.escape(stem) + r"(-\d+)?", path.stem)
        assert found["commit"]
        assert found["versions"]["torch"]


def test_a_run_of_some_keeps_its_results_and_leaves_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_all, "run", lambda name, full: (RESULT, "| a table |"))
    monkeypatch.setattr(run_all, "RESULTS", tmp_path)
    monkeypatch.setattr(run_all, "keep", lambda result: record.keep(result, tmp_path))
    monkeypatch.setattr("sys.argv", ["run_all", "ddp", "--full"])
    assert run_all.main() == 0
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text()) == {**RESULT, "setting": "full"}


def test_the_page_links_the_results_and_shows_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(name: str, full: bool) -> tuple[dict[str, Any] | None, str]:
        failed = name == "train"
        return None if failed else {**RESULT, "benchmark": name}, "broken" if failed else "figures"

    monkeypatch.setattr(run_all, "run", fake)
    monkeypatch.setattr(run_all, "RESULTS", tmp_path)
    monkeypatch.setattr(run_all, "keep", lambda result: record.keep(result, tmp_path))
    monkeypatch.setattr("sys.argv", ["run_all"])
    assert run_all.main() == 1
    page = (tmp_path / "README.md").read_text()
    name = "ddp_2-core-amd-epyc_20261127.json"
    assert f"## ddp\n\n[{name}]({name})\n\nfigures" in page
    assert "## train\n\nbroken" in page
    assert len(list(tmp_path.glob("*.json"))) == len(run_all.NAMES) - 1
