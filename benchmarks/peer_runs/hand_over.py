"""How the benchmark and a peer's runner speak: a task in JSON, figures in JSON, rows in Parquet.

A runner is a module with three functions and is called by the peer's own interpreter, a process a
stage, as ``python -m benchmarks.peer_runs.NAME prepare|train TASK``. It writes ``STAGE.json``
(seconds, versions, what the settings came to) and after training ``test.parquet``: ``probability``
and ``label`` of each test row, in the order of the raw lines. Imports are not timed.
"""

import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

PREDICTIONS = "test.parquet"


@dataclass(frozen=True)
class Task:
    """What a peer is to do."""

    folder: Path
    """Its own, for whatever it makes."""
    train: Path
    valid: Path
    test: Path
    settings: dict[str, Any]

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), default=str, indent=1))

    @classmethod
    def read(cls, path: Path) -> Self:
        """From JSON."""
        values = json.loads(path.read_text())
        paths = {key: Path(values[key]) for key in ("folder", "train", "valid", "test")}
        return cls(**paths, settings=values["settings"])

    @property
    def parts(self) -> dict[str, Path]:
        """The raw files by split."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


@dataclass(frozen=True)
class Runner:
    """A peer as three functions."""

    prepare: Callable[[Task], None]
    """Raw lines to whatever training reads, in the task's folder."""
    train: Callable[[Task], Any]
    """From there to a trained model: loading, validation and saving are part of it."""
    predict: Callable[[Task, Any], tuple[Any, Any]]
    """Probabilities and labels of the test rows, in their order."""
    packages: Sequence[str]
    """Whose versions are told, the peer's first."""

    def main(self) -> None:
        """Run one stage and write its figures."""
        stage, task = sys.argv[1], Task.read(Path(sys.argv[2]))
        start = time.perf_counter()
        found = {"prepare": self.prepare, "train": self.train}[stage](task)
        figures: dict[str, Any] = {"seconds": time.perf_counter() - start}
        if stage == "train":
            start = time.perf_counter()
            write_predictions(task.folder / PREDICTIONS, *self.predict(task, found))
            figures["predict_seconds"] = time.perf_counter() - start
        figures["versions"] = {name: version(name) for name in self.packages}
        figures["versions"]["python"] = platform.python_version()
        (task.folder / f"{stage}.json").write_text(json.dumps(figures))


def write_predictions(path: Path, probability: Any, label: Any) -> None:
    """Hand predictions over."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "probability": pa.array(probability, pa.float64()),
        "label": pa.array(label, pa.uint8()),
    }
    pq.write_table(pa.table(columns), path)
