"""Environments of the peers: their pins contradict each other's and ours, so each has its own.

An environment is a virtual one with pinned versions, made once; a record beside it says of what.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.peer_runs.process import last_line

RECORD: Final = "installed.json"
PYARROW: Final = "pyarrow==26.0.1"  # predictions are handed over as Parquet
TORCH: Final = "torch==2.13.0"

NUMPY: Final = "numpy==2.4.6"

REQUIREMENTS: Final[dict[str, list[list[str]]]] = {
    # Torch goes first and alone, so that the build that is there is kept by what comes after.
    "fuxictr": [
        [TORCH],
        ["fuxictr==2.3.10", "ray[data]==2.60.0", "polars==1.44.2", NUMPY, PYARROW, TORCH],
    ],
    "deepctr": [
        [TORCH],
        ["deepctr-torch==0.3.0", "pandas==2.3.3", "scikit-learn==1.9.1", NUMPY, PYARROW, TORCH],
        ["requests==2.32.5"],  # imported but not required by it
    ],
    "vowpal": [["vowpalwabbit==9.11.9", NUMPY, PYARROW]],
    "lightgbm": [["lightgbm==4.7.0", "polars==2.1.0", NUMPY, PYARROW]],
}
"""Name of an environment → what ``pip install`` is called with, in turn."""


def interpreter(folder: Path, name: str) -> Path:
    """The Python of an environment."""
    return folder / name / "bin" / "python"


def missing(folder: Path, name: str) -> str:
    """Why an environment cannot be used; empty where it can."""
    record = folder / name / RECORD
    if not record.exists():
        return "not installed: --install makes its environment"
    if json.loads(record.read_text()) != REQUIREMENTS[name]:
        return "installed with other versions: --install makes its environment anew"
    return ""


def install(folder: Path, name: str, limit: float = 1200) -> str:
    """Make an environment unless it is there; why not, or nothing where it went well."""
    if not missing(folder, name):
        return ""
    shutil.rmtree(folder / name, ignore_errors=True)
    python = str(interpreter(folder, name))
    commands = [[sys.executable, "-m", "venv", str(folder / name)]]
    commands += [[python, "-m", "pip", "install", "-q", *pins] for pins in REQUIREMENTS[name]]
    for command in commands:
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit)
        except subprocess.CalledProcessError as error:
            return f"not installed: {last_line(error.stderr)}"
        except subprocess.TimeoutExpired:
            return f"not installed within {limit:.0f} s"
    (folder / name / RECORD).write_text(json.dumps(REQUIREMENTS[name]) + "\n")
    return ""
