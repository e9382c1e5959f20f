"""FuxiCTR's FM: its Criteo processor, its layers, its training loop.

The FM itself is not part of the installed package (it is a script of its repository), so it is
put together here from the package's own layers, as that script does.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
from fuxictr.datasets.criteo import CustomizedFeatureProcessor
from fuxictr.features import FeatureMap
from fuxictr.preprocess import build_dataset
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything

from benchmarks.peer_runs.hand_over import Runner, Task
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL

DATA: Final = "criteo"
COLUMNS: Final = [
    {
        "name": list(INTEGER_COLUMNS),
        "active": True,
        "dtype": "float",
        "type": "categorical",
        "preprocess": "convert_to_bucket",
        "fill_na": 0,
    },
    {
        "name": list(CATEGORICAL_COLUMNS),
        "active": True,
        "dtype": "str",
        "type": "categorical",
        "fill_na": "",
    },
]
"""As its published settings for Criteo have them."""


class FM(BaseModel):  # type: ignore[misc]
    """The package's factorization machine on the package's embeddings."""

    def __init__(self, features: Any, dim: int, rate: float, penalty: float, root: Path) -> None:
        super().__init__(
            features,
            embedding_regularizer=penalty,
            net_regularizer=penalty,
            verbose=0,
            model_root=str(root),
            metrics=["AUC", "logloss"],
        )
        self.embedding = FeatureEmbedding(features, dim)
        self.machine = FactorizationMachine(features)
        self.compile("adam", "binary_crossentropy", rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        """Probabilities of a batch."""
        fields = self.get_inputs(inputs)
        logits = self.machine(fields, self.embedding(fields))
        return {"y_pred": self.output_activation(logits)}


def prepare(task: Task) -> None:
    """A header before the raw lines, then the package's processor."""
    header = "\t".join([LABEL, *FEATURE_COLUMNS]).encode()
    paths = {}
    for name, path in task.parts.items():
        target = task.folder / f"{name}.csv"
        with path.open("rb") as lines, target.open("wb") as out:
            out.write(header + b"\n")
            shutil.copyfileobj(lines, out, 1 << 24)
        paths[f"{name}_data"] = str(target)
    processor = CustomizedFeatureProcessor(
        COLUMNS, {"name": LABEL, "dtype": "float"}, DATA, str(task.folder)
    )
    count = task.settings["min_count"]
    build_dataset(processor, **paths, data_format="csv", sep="\t", min_categr_count=count)


def train(task: Task) -> Any:
    """One epoch, validated at its end, the best weights saved and loaded again."""
    seed_everything(2019)
    settings = task.settings
    features = FeatureMap(DATA, str(task.folder / DATA))
    features.load(str(task.folder / DATA / "feature_map.json"), {"embedding_dim": settings["dim"]})
    batches, valid = RankDataLoader(features, stage="train", **_data(task, "train", "valid"))
    model = FM(features, settings["dim"], settings["rate"], settings["l2"], task.folder / "model")
    Path(model.model_dir).mkdir(parents=True)
    model.fit(batches, epochs=1, validation_data=valid)
    return model


def predict(task: Task, model: Any) -> tuple[Any, Any]:
    """Probabilities and the labels that came with them."""
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    batches = RankDataLoader(model.feature_map, stage="test", **_data(task, "test"))
    label = np.concatenate([model.get_labels(batch).numpy().ravel() for batch in batches])
    return model.predict(batches), label.astype(np.uint8)


def _data(task: Task, *names: str) -> dict[str, Any]:
    files = {f"{name}_data": str(task.folder / DATA / f"{name}.parquet") for name in names}
    return files | {
        "batch_size": task.settings["batch"],
        "shuffle": True,
        "data_format": "parquet",
        "num_workers": 3,
    }


if __name__ == "__main__":
    Runner(prepare, train, predict, ["fuxictr", "torch", "polars", "ray", "numpy"]).main()
