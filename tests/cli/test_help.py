"""What ``--help`` shows, what a shell completes, and where colours are."""

import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from criteo_stream.base.options import declared
from criteo_stream.cli import app
from criteo_stream.cli.examples import EXAMPLES
from criteo_stream.cli.parameters import PANELS
from criteo_stream.prepare.options import PrepareExecution, PrepareOptions
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.execution import Execution
from tests.support import processes

LINES = [line for lines in EXAMPLES.values() for line in lines]


@pytest.mark.parametrize("line", LINES)
def test_examples_are_commands_that_there_are(line: str) -> None:
    before, _, after = line.replace("-m criteo_stream", "criteo-stream").partition("criteo-stream ")
    assert before.split()[:1] in ([], ["torchrun"])
    name, *arguments = shlex.split(after)
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.make_context(name, arguments).params
    assert len(line) < 78


@pytest.mark.parametrize("command", list(EXAMPLES))
def test_help_fits_80_columns(command: str) -> None:
    done = processes.run([*command.split(), "--help"], {"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 10
    assert max(map(len, done.stdout.split("\n"))) <= 80
    for word in ("<bool>", "<path>", "<str>", "[DATA]"):
        assert word not in done.stdout


def test_every_option_has_a_known_panel_and_is_in_it() -> None:
    for name, classes in (
        ("preprocess", (PrepareOptions, PrepareExecution)),
        ("train", (TrainConfig, Execution)),
    ):
        text = processes.run([name, "--help"], {"COLUMNS": "80"}).stdout
        panel, found = "", {}
        for line in text.split("\n"):
            if line.startswith("╭─ "):
                panel = line.split("─")[1].strip()
            elif "│" in line and "--" in line[:10]:
                found[line.strip("│* ").split()[0].split(",")[0]] = panel
        for option in (option for cls in classes for option in declared(cls).values()):
            assert option.panel in PANELS
            if option.name != "block_rows":
                assert found[option.flag] == (option.panel or "Options"), option.name


def completed(*words: str) -> list[str]:
    """What bash is offered for the last of some words."""
    env = os.environ | {
        "_CRITEO_STREAM_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["criteo-stream", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "criteo_stream"],
        env=env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("tr",), ["train"]),
        (("train", "data", "--model", "f"), ["fm", "ffm", "fibinet"]),
        (("train", "data", "--model", "FF"), ["FFm"]),
        (("evaluate", "run", "--split", "t"), ["train", "test"]),
        (("preprocess", "x", "--layout", "kaggle-"), ["kaggle-csv"]),
    ],
)
def test_a_shell_completes_words(words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(*words) == offered


def on_a_terminal(arguments: list[str], env: dict[str, str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "criteo_stream", *arguments]
    done = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs,
        env={"TERM": "xterm", "COLUMNS": "80", **os.environ, **env},
    )  # fmt: skip
    os.close(theirs)
    found = b""
    try:
        while part := os.read(ours, 1 << 16):
            found += part
    except OSError:  # Linux's end of a terminal
        pass
    finally:
        os.close(ours)
    done.wait(60)
    return found.decode()


def test_errors_have_colours_on_a_terminal_only() -> None:
    env = {"TERM": "xterm", "NO_COLOR": ""}
    assert "\x1b[1;31merror:\x1b[0m no such command" in on_a_terminal(["trian"], env)
    assert "\x1b" not in on_a_terminal(["trian"], env | {"NO_COLOR": "1"})
    assert "\x1b" not in on_a_terminal(["trian"], env | {"TERM": "dumb"})
    for name in ("GITHUB_ACTIONS", "PY_COLORS"):  # where Typer would colour pipes
        done = processes.run(["trian"], {name: "true"})
        assert done.stderr == "error: no such command trian: did you mean train?\n"
        help_text = subprocess.run(
            [sys.executable, "-m", "criteo_stream", "train", "--help"],
            env=os.environ | {name: "true"}, capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        assert "\x1b" not in help_text


def test_a_repeatable_option_may_stand_before_the_only_input(tmp_path: Path) -> None:
    words = ["train", "--logger", "tensorboard", str(tmp_path / "none"), "--out", "r"]
    done = processes.run(words, {})
    assert "does not exist: check the path of the data set" in done.stderr
