"""What the family is for: structure that a factorization machine cannot hold."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from criteo_stream import Trainer
from criteo_stream.data.shards import RowGroup
from criteo_stream.runs.config import TrainConfig
from tests.support.prepared import write_data_set

ROWS = {"train": [240_000], "valid": [30_000], "test": [60_000]}
FIELDS, IDS, DIM = 12, 20, 4
"""Of the teachers; the other columns say nothing."""
OPTIONS: Any = {"epochs": 2, "batch_size": 2048}

Teacher = Callable[[np.ndarray], np.ndarray]


def field_aware(seed: int) -> Teacher:
    """Σ_{i<j} v_i W_ij v_j with random matrices: any two pairs of fields see an id differently."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(FIELDS, IDS, DIM))
    matrices = random.normal(size=(FIELDS, FIELDS, DIM, DIM)) * 0.05

    def logits(ids: np.ndarray) -> np.ndarray:
        v = [vectors[field][ids[:, field]] for field in range(FIELDS)]
        total = np.zeros(len(ids))
        for j in range(FIELDS):
            for i in range(j):
                total += ((v[i] @ matrices[i, j]) * v[j]).sum(1)
        return total

    return logits


def high_order(seed: int) -> Teacher:
    """A wave of the sum of all fields' effects: pairs give it no more than a slope."""
    effects = np.random.default_rng(seed).normal(size=(FIELDS, IDS)) / np.sqrt(FIELDS)

    def logits(ids: np.ndarray) -> np.ndarray:
        total = sum(effects[field][ids[:, field]] for field in range(FIELDS))
        return 3 * np.sin(1.8 * np.asarray(total))

    return logits


def write_taught(folder: Path, teacher: Teacher, seed: int) -> Path:
    def encode(split: str, rows: np.ndarray) -> RowGroup:
        random = np.random.default_rng([seed, len(split), len(rows)])
        ids = random.integers(0, IDS, (len(rows), 26), dtype=np.int32)
        probability = 1 / (1 + np.exp(-teacher(ids)))
        numeric = np.full((len(rows), 13), 0.5, np.float32)
        return RowGroup(numeric, ids, (random.random(len(rows)) < probability).astype(np.uint8))

    manifest = write_data_set(folder, ROWS, row_group_rows=4096, encode=encode)
    columns = [replace(column, ids=IDS) for column in manifest.categorical]
    replace(manifest, categorical=columns).write(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("teacher", "models"),
    [
        (field_aware, {"ffm": {}, "bilinear-ffm": {"bilinear": "interaction"}}),
        (high_order, {"deepfm": {}, "fibinet": {}}),
    ],
)
def test_the_family_learns_what_a_factorization_machine_cannot(
    tmp_path: Path, teacher: Callable[[int], Teacher], models: dict[str, Any], seed: int
) -> None:
    data = write_taught(tmp_path / "set", teacher(seed), seed)
    found = {}
    for name, options in {"lr": {}, "fm": {}, **models}.items():
        config = TrainConfig(model=name, **OPTIONS, **options)
        trainer = Trainer(data, tmp_path / name, config, quiet=True)
        trainer.fit()
        found[name] = trainer.evaluate("test").auc
    print(teacher.__name__, seed, {name: round(auc, 4) for name, auc in found.items()})
    assert min(found[name] for name in models) >= found["fm"] + 0.003
