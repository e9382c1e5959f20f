"""Vowpal Wabbit on its own text format, one pass in the order of the lines."""

from pathlib import Path
from typing import Any

from vowpalwabbit import Workspace

from benchmarks.peer_runs.hand_over import Runner, Task
from benchmarks.peer_runs.rows import labels
from benchmarks.peer_runs.vw_lines import vw_lines


def prepare(task: Task) -> None:
    """Our converter, `vw_lines`."""
    for name, path in task.parts.items():
        with path.open("rb") as lines, (task.folder / f"{name}.vw").open("wb") as out:
            out.writelines(vw_lines(lines))


def train(task: Task) -> Path:
    """Learn from the text; the model is a file."""
    model = task.folder / "model.vw"
    _run("-d", str(task.folder / "train.vw"), "-f", str(model), *task.settings["options"])
    return model


def predict(task: Task, model: Path) -> tuple[Any, Any]:
    """Let it write probabilities."""
    out = task.folder / "predicted.txt"
    source = ["-t", "-d", str(task.folder / "test.vw")]
    _run(*source, "-i", str(model), "-p", str(out), "--link", "logistic")
    probability = [float(line) for line in out.read_text().splitlines()]
    return probability, list(labels(task.test))


def _run(*options: str) -> None:
    Workspace(arg_list=[*options, "--quiet"]).finish()


if __name__ == "__main__":
    Runner(prepare, train, predict, ["vowpalwabbit"]).main()
