"""Escape sequences in names, lines, manifests and configurations never reach the terminal."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.records import sealed
from criteo_stream.data.folder import MANIFEST_NAME
from tests.support import processes
from tests.support.raw_lines import raw_lines, with_field, write_raw

HOSTILE = "x\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\x7f\r\ny"
SHOWN = r"x\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\x7f\r\ny"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = processes.run([*map(str, arguments)], {"COLUMNS": "120"})
    for line in (done.stdout + done.stderr).split("\n"):
        assert line.isprintable(), ascii(line)
    assert "Traceback" not in done.stderr
    return done


def refused(*arguments: object) -> str:
    """The one sentence of an error."""
    done = run(*arguments)
    assert done.returncode in (1, 2)
    (line,) = [line for line in done.stderr.split("\n") if line.lower().startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw lines, a set and a run below a folder of a hostile name."""
    folder = tmp_path_factory.mktemp("hostile") / HOSTILE
    folder.mkdir()
    write_raw(folder / f"raw{HOSTILE}", raw_lines(1500))
    done = run("preprocess", folder / f"raw{HOSTILE}", "--out", folder / "data", "--min-count", 3)
    assert SHOWN in done.stdout
    done = run("train", folder / "data", "--out", folder / "run", "--embedding-dim", 2)
    assert done.returncode == 0, done.stderr
    assert SHOWN in done.stdout
    return folder


def test_results_of_every_command(folder: Path, tmp_path: Path) -> None:
    raw, trained = folder / f"raw{HOSTILE}", folder / "run"
    for arguments in (
        ["inspect", raw],
        ["inspect", folder / "data"],
        ["inspect", trained],
        ["evaluate", trained, "--against", trained],
        ["predict", trained, raw, "--out", tmp_path / f"{HOSTILE}.csv"],
        ["report", trained, "--out", tmp_path / HOSTILE / "page.html"],
        ["export", trained, "--format", "safetensors", "--out", tmp_path / f"export{HOSTILE}"],
        ["preprocess", raw, "--out", folder / "data", "--min-count", 3],
        ["train", folder / "data", "--out", trained, "--embedding-dim", 2],
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        assert SHOWN in done.stdout


def test_json_is_ascii(folder: Path) -> None:
    for path in (folder / f"raw{HOSTILE}", folder / "run"):
        done = run("inspect", path, "--json")
        assert done.stdout.isascii()
        json.loads(done.stdout.split("\n")[-2])


def test_errors_are_one_line(folder: Path, tmp_path: Path) -> None:
    raw = folder / f"raw{HOSTILE}"
    not_utf8 = tmp_path / os.fsdecode(b"caf\xe9\x1b[2J")
    not_utf8.mkdir()
    for arguments, shown in (
        (["inspect", tmp_path / HOSTILE], SHOWN),
        (["preprocess", tmp_path / HOSTILE, "--out", tmp_path / "d"], SHOWN),
        (["preprocess", raw, "--out", not_utf8 / "d"], r"caf\xe9\x1b[2J"),
        (["preprocess", raw, "--out", folder], SHOWN),
        (["evaluate", tmp_path / HOSTILE], SHOWN),
        (["evaluate", folder / "run", "--split", HOSTILE], SHOWN),
        (["predict", folder / "run", raw, "--out", HOSTILE], SHOWN),
        (["train", folder / "data", "--out", folder], SHOWN),
        (["train", folder / "data", "--out", tmp_path / "r", "--model", HOSTILE], SHOWN),
        (["train", folder / "data", "--out", tmp_path / "r", "--epochs", HOSTILE], "--epochs"),
        (["train", folder / "data", "--config", tmp_path / HOSTILE, "--out", "r"], SHOWN),
        (["inspect", raw, f"--{HOSTILE}"], r"\x1b[2J\u202e"),
    ):
        assert shown in refused(*arguments), arguments
    assert not list(not_utf8.iterdir()), "refused before anything is made"


def test_raw_lines_are_shown(tmp_path: Path) -> None:
    bad = [with_field(5, b"\x1b[2J\xe2\x80\xae"), with_field(5, b"\x1b[2J\x7f\xff")]
    raw = write_raw(tmp_path / "raw.txt", [*bad, *raw_lines(20)])
    assert r"\x1b[2J" in refused("preprocess", raw, "--out", tmp_path / "d", "--layout", "kaggle")
    told = run("inspect", raw)
    assert told.returncode == 0
    assert r"\x1b[2J\u202e" in told.stdout
    assert run("inspect", raw, "--json").stdout.isascii()


def edit_manifest(data: Path, **changes: Any) -> None:
    path = data / MANIFEST_NAME
    raw = json.loads(path.read_text())
    times = raw.pop("times")
    del raw["checksum"]
    path.write_text(json.dumps(sealed(raw | changes) | {"times": times}))


def test_a_manifest_and_a_config_of_others(folder: Path, tmp_path: Path) -> None:
    data, trained = tmp_path / "data", tmp_path / "run"
    shutil.copytree(folder / "data", data)
    shutil.copytree(folder / "run", trained, symlinks=True)
    raw = json.loads((data / MANIFEST_NAME).read_text())
    numeric = [{**raw["numeric"][0], "column": HOSTILE}, *raw["numeric"][1:]]
    edit_manifest(data, numeric=numeric, layout=HOSTILE)
    run("inspect", data)  # refused or shown, but never obeyed
    shard = {**raw["shards"]["test"][0], "path": f"test/{HOSTILE}.parquet"}
    edit_manifest(data, shards={**raw["shards"], "test": [shard]}, numeric=raw["numeric"])
    run("inspect", data, "--verify")
    run("evaluate", trained, "--data", data)
    config = trained / "config.toml"
    config.write_text(config.read_text().replace('model = "fm"', f"model = {json.dumps(HOSTILE)}"))
    run("inspect", trained)
    assert SHOWN in refused("evaluate", trained)
    config.write_text(HOSTILE)
    refused("inspect", trained)
    history = trained / "history.jsonl"
    history.write_text(f'{{"{HOSTILE}": 1}}\n')
    config.write_text((folder / "run" / "config.toml").read_text())
    refused("inspect", trained)


def test_a_traceback_is_text(tmp_path: Path) -> None:
    done = processes.run(["-v", "inspect", str(tmp_path / HOSTILE)], {})
    assert done.stderr.startswith("Traceback")
    assert all(line.isprintable() for line in done.stderr.split("\n"))
    assert done.stderr.split("\n")[-2].endswith(SHOWN)
