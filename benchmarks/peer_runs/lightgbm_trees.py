"""LightGBM on clicks and counts of each value, as its own experiments on Criteo's logs.

Those take click-through rates and counts from ten days and train on the next ten; here they come
from the other four fifths of the training rows, so that none is lost. Integers stay as they are.
"""

from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
import polars as pl

from benchmarks.peer_runs.hand_over import Runner, Task
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, LABEL

FOLDS: Final = 5
PRIOR: Final = 20.0
"""Rows of the mean click rate that are added to each value's."""


def prepare(task: Task) -> None:
    """Raw lines to features and labels, and those to LightGBM's binned files."""
    frames = {name: _read(path) for name, path in task.parts.items()}
    label = {name: frame[LABEL].to_numpy() for name, frame in frames.items()}
    features = {
        name: [frame[column].to_numpy() for column in INTEGER_COLUMNS]
        for name, frame in frames.items()
    }
    for column in CATEGORICAL_COLUMNS:
        statistics = _statistics({n: f[column].to_numpy() for n, f in frames.items()}, label)
        for name, found in statistics.items():
            features[name] += found
    train = None
    for name in task.parts:
        matrix = np.stack(features.pop(name), axis=1)
        if name == "test":
            np.save(task.folder / "test.npy", matrix)
            np.save(task.folder / "test_label.npy", label[name])
        else:
            data = lightgbm.Dataset(matrix, label[name], reference=train, params={"verbose": -1})
            data.save_binary(_binned(task, name))
            train = train or data


def train(task: Task) -> Any:
    """Trees until the valid log loss stops falling."""
    data = lightgbm.Dataset(_binned(task, "train"))
    valid = lightgbm.Dataset(_binned(task, "valid"), reference=data)
    settings = dict(task.settings)
    trees, patience = settings.pop("trees"), settings.pop("patience")
    options = {"objective": "binary", "verbose": -1, "seed": 0} | settings
    stop = lightgbm.early_stopping(patience, verbose=False)
    return lightgbm.train(options, data, trees, valid_sets=[valid], callbacks=[stop])


def predict(task: Task, model: Any) -> tuple[Any, Any]:
    """Probabilities of the test rows."""
    probability = model.predict(np.load(task.folder / "test.npy"))
    return probability, np.load(task.folder / "test_label.npy")


def _binned(task: Task, name: str) -> Path:
    return task.folder / f"{name}.bin"


def _read(path: Path) -> pl.DataFrame:
    schema: dict[str, Any] = {LABEL: pl.UInt8}
    schema |= dict.fromkeys(INTEGER_COLUMNS, pl.Float32)
    schema |= dict.fromkeys(CATEGORICAL_COLUMNS, pl.String)
    lines = pl.read_csv(path, separator="\t", has_header=False, schema=schema, quote_char=None)
    codes = pl.col(CATEGORICAL_COLUMNS).str.to_integer(base=16, dtype=pl.Int64).fill_null(-1)
    return lines.with_columns(codes)


def _statistics(values: dict[str, Any], label: dict[str, Any]) -> dict[str, list[Any]]:
    """Click rate and share of each row's value, from the rows of other folds."""
    known, code = np.unique(values["train"], return_inverse=True)
    clicked = label["train"]
    fold = np.arange(len(code)) % FOLDS
    shape = FOLDS, len(known)
    cell = fold * len(known) + code
    rows = np.bincount(cell, minlength=FOLDS * len(known)).reshape(shape)
    clicks = np.bincount(cell, clicked, minlength=FOLDS * len(known)).reshape(shape)
    mean = clicked.mean()
    n, k = rows.sum(0) - rows, clicks.sum(0) - clicks
    found = {"train": _pair(n[fold, code], k[fold, code], mean, len(code) * (FOLDS - 1) / FOLDS)}
    for name in ("valid", "test"):
        place = np.searchsorted(known, values[name]).clip(max=len(known) - 1)
        seen = known[place] == values[name]
        n, k = (np.where(seen, total.sum(0)[place], 0) for total in (rows, clicks))
        found[name] = _pair(n, k, mean, len(code))
    return found


def _pair(rows: Any, clicks: Any, mean: float, total: float) -> list[Any]:
    rate = (clicks + PRIOR * mean) / (rows + PRIOR)
    return [rate.astype(np.float32), (rows / total).astype(np.float32)]


if __name__ == "__main__":
    Runner(prepare, train, predict, ["lightgbm", "polars", "numpy"]).main()
