"""DeepCTR-Torch's DeepFM without its network: an FM.

Prepared as in its Criteo example: `LabelEncoder` and `MinMaxScaler` over all rows (which gives it
a look at the test rows' values). There the integers reach the linear part only; with ``integers``
set to ``bins`` they are ⌊log²⌋ bins and fields like the others.
"""

from typing import Any, Final

import numpy as np
import pandas as pd
from deepctr_torch.inputs import DenseFeat, SparseFeat
from deepctr_torch.models import DeepFM
from sklearn.preprocessing import LabelEncoder, MinMaxScaler

from benchmarks.peer_runs.hand_over import Runner, Task
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL

INTEGERS: Final = list(INTEGER_COLUMNS)
CATEGORICAL: Final = list(CATEGORICAL_COLUMNS)


def prepare(task: Task) -> None:
    """Raw lines to a table of codes and scaled integers, as Parquet."""
    types = dict.fromkeys(CATEGORICAL, "str") | dict.fromkeys(INTEGERS, "float32")
    frames = [
        pd.read_csv(path, sep="\t", names=[LABEL, *FEATURE_COLUMNS], dtype=types)
        for path in task.parts.values()
    ]
    ends = np.cumsum([len(frame) for frame in frames])
    data = pd.concat(frames, ignore_index=True)
    del frames
    data[CATEGORICAL] = data[CATEGORICAL].fillna("-1")
    if task.settings["integers"] == "bins":
        values = data[INTEGERS]
        logs = np.floor(np.log(values.clip(lower=2)) ** 2)
        data[INTEGERS] = values.where(values <= 2, 2 + logs).fillna(-9).astype("int32")
    else:
        data[INTEGERS] = MinMaxScaler((0, 1)).fit_transform(data[INTEGERS].fillna(0))
        data[INTEGERS] = data[INTEGERS].astype("float32")
    for name in _fields(task):
        data[name] = LabelEncoder().fit_transform(data[name]).astype("int32")
    for name, end, start in zip(task.parts, ends, [0, *ends], strict=False):
        data.iloc[start:end].to_parquet(task.folder / f"{name}.parquet", index=False)
    sizes = {name: int(data[name].max()) + 1 for name in _fields(task)}
    pd.Series(sizes).to_json(task.folder / "sizes.json")


def train(task: Task) -> Any:
    """One call of ``fit``, validated once; metrics of every batch are left out."""
    dim = task.settings["dim"]
    sizes = pd.read_json(task.folder / "sizes.json", typ="series")
    columns: list[Any] = [SparseFeat(name, int(sizes[name]), dim) for name in _fields(task)]
    columns += [DenseFeat(name, 1) for name in INTEGERS if name not in sizes]
    model = DeepFM(columns, columns, dnn_hidden_units=(), task="binary")
    model.compile(task.settings["optimizer"], "binary_crossentropy", metrics=["auc"])
    x, y = _read(task, "train")
    model.fit(
        x,
        y,
        batch_size=task.settings["batch"],
        epochs=1,
        verbose=0,
        validation_data=_read(task, "valid"),
    )
    return model


def predict(task: Task, model: Any) -> tuple[Any, Any]:
    """Probabilities of the test rows."""
    x, y = _read(task, "test")
    return model.predict(x, task.settings["batch"]).ravel(), y


def _fields(task: Task) -> list[str]:
    return CATEGORICAL + (INTEGERS if task.settings["integers"] == "bins" else [])


def _read(task: Task, name: str) -> tuple[dict[str, Any], Any]:
    data = pd.read_parquet(task.folder / f"{name}.parquet")
    return {column: data[column].to_numpy() for column in FEATURE_COLUMNS}, data[LABEL].to_numpy()


if __name__ == "__main__":
    Runner(prepare, train, predict, ["deepctr-torch", "torch", "pandas", "scikit-learn"]).main()
