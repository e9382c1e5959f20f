"""Evaluations are told in a table that fits 80 columns, beside a bar that keeps its percentage."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.train.evaluation_table import HEADING, row, whole_row
from tests.support.training import as_flags
from tests.train.test_early_stopping import evaluation


@given(
    st.integers(1, 99_999), st.integers(1, 4_195_197_692), st.floats(0, 99),
    st.none() | st.floats(0, 1), st.integers(0, 10**8 - 1),
)  # fmt: skip
def test_a_row_stands_under_the_heading(
    epoch: int, rows: int, loss: float, auc: float | None, speed: int
) -> None:
    line = replace(
        evaluation(1, "auc", auc), epoch=epoch, rows=rows, train_loss=loss, log_loss=loss,
        rows_per_second=speed,
    )  # fmt: skip
    text = row(line)
    assert len(text) == len(HEADING)
    ends = [match.end() for match in re.finditer(r"log loss|rows/s|\S+", HEADING)]
    assert [match.end() for match in re.finditer(r"\S+", text)] == ends
    assert len(row(line, "★ best")) <= 80
    below = whole_row(replace(line, whole_auc=0.5, whole_log_loss=0.5))
    assert [below.index("0.50000") + 7, below.rindex("0.50000") + 7] == ends[3:5]


def train(data: Path, run: Path, *more: str) -> list[str]:
    """The command with what decides how it is shown."""
    flags = [flag for flag in as_flags(epochs=2) if flag != "--quiet"]
    command = [sys.executable, "-m", "criteo_stream", "train", str(data), "--out", str(run)]
    return [*command, *flags, *more]


def shown_on_a_terminal(command: list[str], columns: int) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so at the end
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()


def test_on_80_columns(data: Path, tmp_path: Path) -> None:
    shown = shown_on_a_terminal(train(data, tmp_path / "run"), 80)
    lines = re.split(r"[\r\n]+", shown)
    assert sum(HEADING in line for line in lines) == 1
    bars = [line for line in lines if line.startswith("train:")]
    assert bars[-1].startswith("train: 100%|")
    assert all(len(bar) <= 80 for bar in bars)
    best = [line for line in lines if "★ best" in line]
    assert best
    assert all(line.startswith("\x1b[32m") for line in best)
    auc = best[-1].split()[4]
    assert f"AUC {float(auc):.4f}" in bars[-1], "the last bar has the final best"


def test_a_pipe_has_no_escapes_and_quiet_has_nothing(data: Path, tmp_path: Path) -> None:
    done = subprocess.run(train(data, tmp_path / "run"), capture_output=True, text=True, check=True)
    assert HEADING in done.stderr.splitlines()
    assert "\x1b" not in done.stderr + done.stdout
    assert "\r" not in done.stderr
    quiet = subprocess.run(
        train(data, tmp_path / "quiet", "--quiet"), capture_output=True, text=True, check=True
    )
    assert not quiet.stderr


@pytest.mark.parametrize("mark", ["", "best", "NE > 1"])
def test_marks_stand_behind(mark: str) -> None:
    text = row(evaluation(1, "auc", 0.5), mark)
    assert text.endswith(mark)
    assert text == text.rstrip()
