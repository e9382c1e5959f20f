"""The Slurm files and the commands for clusters: they parse, and their options exist."""

import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from typer.main import get_command

from criteo_stream.cli.app import app
from tests.support.paths import REPOSITORY

SLURM = sorted((REPOSITORY / "examples" / "slurm").glob("*.sbatch"))
PAGE = REPOSITORY / "docs" / "clusters.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(?:criteo-stream|-m criteo_stream) (\w+) (.*)")


def commands() -> list[str]:
    """Every command of the files and of the page, each in one line without comments."""
    texts = [path.read_text() for path in SLURM] + BLOCK.findall(PAGE.read_text())
    text = "\n".join(texts).replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    return [re.sub(r"\s*(&|\|\| .*)$", "", line) for line in lines if line]


def options_in(words: str) -> list[str]:
    return [word.partition("=")[0] for word in shlex.split(words) if word.startswith("--")]


def options_of(command: str) -> set[str]:
    """Those of one of our commands."""
    known = get_command(app).commands[command]  # type: ignore[attr-defined]
    return {name for parameter in known.params for name in parameter.opts}


@pytest.mark.parametrize("path", SLURM, ids=lambda path: path.name)
def test_the_file_parses_and_asks_slurm_for_something(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n#SBATCH --")
    # Slurm reads its options up to the first command.
    assert "#SBATCH" not in text[text.index("set -euo pipefail") :]


def test_our_options_exist() -> None:
    found = [OURS.search(line) for line in commands()]
    ours = [(match[1], options_in(match[2])) for match in found if match]
    assert {name for name, _ in ours} == {"preprocess", "train"}
    missing = {o for name, options in ours for o in options if o not in options_of(name)}
    if missing == {"--cluster"}:
        pytest.xfail("preprocess has no --cluster yet")
    assert not missing


def test_the_options_of_torchrun_exist() -> None:
    run = pytest.importorskip("torch.distributed.run")
    known = run.get_args_parser()._option_string_actions
    lines = [line.partition("torchrun ")[2] for line in commands() if "torchrun " in line]
    assert len(lines) >= 2
    for line in lines:
        for option in options_in(line.partition("-m criteo_stream")[0]):
            assert option in known, option


@pytest.mark.parametrize("name", ["scheduler", "worker"])
def test_the_options_of_dask_exist(name: str) -> None:
    module = pytest.importorskip(f"distributed.cli.dask_{name}")
    known = {o for p in module.main.params for o in (*p.opts, *p.secondary_opts)}
    lines = [line.partition(f"dask {name} ")[2] for line in commands() if f"dask {name} " in line]
    assert len(lines) >= 2
    for line in lines:
        for option in options_in(line):
            assert option in known, option


@pytest.mark.parametrize(
    ("code", "left", "preempted", "requeued"),
    [
        (0, 60, True, False),
        (1, 3600, False, False),
        (1, 100, False, True),
        (1, 3600, True, True),
    ],
    ids=["finished", "failed", "time is up", "preempted"],
)
def test_training_goes_back_to_the_queue_only_where_slurm_stopped_it(
    code: int, left: int, preempted: bool, requeued: bool, tmp_path: Path
) -> None:
    """With stand-ins for Slurm's commands, since there is no Slurm here."""
    when = "2026-01-01T00:00:00" if preempted else "None"
    stand_ins = {
        "srun": f"echo srun $@ >> {tmp_path}/called; exit {code}",
        "scontrol": f"echo scontrol $@ >> {tmp_path}/called; "
        f"case $2 in hostnames) echo one; echo two;; *) echo PreemptTime={when};; esac",
        "sleep": f"echo sleep $@ >> {tmp_path}/called",
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "DATA": "data",
        "RUN": "a run",
        "SLURM_JOB_ID": "40007",
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_JOB_END_TIME": str(int(time.time()) + left),
    }
    (path,) = [path for path in SLURM if path.name == "train.sbatch"]
    done = subprocess.run(["bash", path], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (code, b"")
    called = (tmp_path / "called").read_text()
    assert "--nnodes 2 --nproc-per-node 4" in called
    assert "--rdzv-endpoint one:10007 -m criteo_stream train data --out a run\n" in called
    assert ("scontrol requeue 40007" in called) == requeued
