"""criteo-stream's own FM, from Python, as its README shows."""

from typing import Any

import benchmarks.machine  # noqa: F401  # before torch, as the command line does
from benchmarks.peer_runs.hand_over import Runner, Task
from criteo_stream import Trainer, preprocess
from criteo_stream.runs.config import TrainConfig


def prepare(task: Task) -> None:
    """``preprocess`` with the splits given as files."""
    preprocess(
        task.train,
        task.folder / "data",
        valid_files=(str(task.valid),),
        test_files=(str(task.test),),
        quiet=True,
    )


def train(task: Task) -> Trainer:
    """``Trainer.fit``."""
    config = TrainConfig(**task.settings)
    trainer = Trainer(task.folder / "data", task.folder / "run", config, quiet=True)
    trainer.fit()
    return trainer


def predict(task: Task, trainer: Trainer) -> tuple[Any, Any]:
    """``Trainer.predict`` on the raw lines."""
    import pyarrow.parquet as pq

    trainer.predict(task.test, task.folder / "predicted.parquet")
    table = pq.read_table(task.folder / "predicted.parquet").sort_by("row")
    return table["probability"].to_numpy(), table["label"].to_numpy()


if __name__ == "__main__":
    Runner(prepare, train, predict, ["criteo-stream", "torch", "polars", "numpy"]).main()
