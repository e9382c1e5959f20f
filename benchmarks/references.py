"""What a data scientist would train instead, on the very rows and ids of a prepared set.

Logistic regression (scikit-learn) and gradient-boosted trees (LightGBM) with their strength chosen
on the valid split, and a factorization machine written plainly, as in most repositories: one dense
embedding, autograd, Adam with weight decay, the best of several epochs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream import CriteoDataset
from criteo_stream.base.schema import SPLITS, Split
from criteo_stream.data.manifest import Manifest

BINS: Final = 32
"""Equal quantile bins of a numeric column, beside one for missing values."""
STRENGTHS: Final = (0.03, 0.1, 0.3, 1.0)
"""Inverse regularisation C of the logistic regressions tried."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """How well a model does on the test split."""

    auc: float
    log_loss: float
    calibration: float
    """Predicted clicks over clicks."""
    seconds: float
    """Of training, the choice among several settings included."""
    note: str = ""
    """The setting chosen."""


@dataclass(frozen=True)
class Rows:
    """One split in memory."""

    numeric: NDArray[np.float32]
    """[rows, 13] quantiles, NaN where missing."""
    categorical: NDArray[np.int32]
    """[rows, 26] ids local to their column."""
    label: NDArray[np.float32]

    @classmethod
    def read(cls, data: Path, split: Split) -> Self:
        """All rows of a split, in the order of the shards."""
        batches = list(CriteoDataset(data, split, 1 << 17, shuffle=False))
        numeric, categorical, label = (
            torch.cat(parts).numpy()
            for parts in zip(*((x_num, x_cat, y) for (x_num, x_cat), y in batches), strict=True)
        )
        return cls(numeric, categorical, label)

    def bins(self) -> NDArray[np.int32]:
        """[rows, 13] the bin of each quantile; the last is for missing."""
        bins = np.minimum(np.nan_to_num(self.numeric) * BINS, BINS - 1).astype(np.int32)
        return np.where(np.isnan(self.numeric), BINS, bins).astype(np.int32)


@dataclass(frozen=True)
class Splits:
    """The whole set in memory."""

    train: Rows
    valid: Rows
    test: Rows
    categories: list[int]
    """Sizes of the id spaces."""
    means: list[float]
    """What the missing values of a numeric column are imputed with."""

    @classmethod
    def read(cls, data: Path) -> Self:
        """Read the three splits of a prepared set."""
        manifest = Manifest.read(data)
        train, valid, test = (Rows.read(data, split) for split in SPLITS)
        means = [column.mean_quantile for column in manifest.numeric]
        return cls(train, valid, test, manifest.categories, means)

    def one_hot(self, rows: Rows) -> csr_matrix:
        """[rows, ids + 13 · 33] ones where a row has the id or the bin."""
        ids = np.concatenate([rows.categorical, rows.bins()], axis=1)
        sizes = [*self.categories, *(BINS + 1,) * rows.numeric.shape[1]]
        ids += np.cumsum([0, *sizes[:-1]], dtype=np.int32)
        count, columns = ids.shape
        ends = np.arange(0, count * columns + 1, columns)
        ones = np.ones(ids.size, dtype=np.float32)
        return csr_matrix((ones, ids.ravel(), ends), shape=(count, sum(sizes)))


def figures_of(probability: Floats, rows: Rows, seconds: float, note: str = "") -> Figures:
    """Figures of predictions for some rows."""
    return Figures(
        auc=float(roc_auc_score(rows.label, probability)),
        log_loss=float(log_loss(rows.label, probability)),
        calibration=float(probability.sum() / rows.label.sum()),
        seconds=seconds,
        note=note,
    )


def logistic_regression(splits: Splits, strengths: Sequence[float] = STRENGTHS) -> Figures:
    """Scikit-learn's on one-hot ids and bins; the strength with the best valid log loss."""
    start = time.perf_counter()
    train, valid = splits.one_hot(splits.train), splits.one_hot(splits.valid)
    best: tuple[float, float, LogisticRegression] | None = None
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=300).fit(train, splits.train.label)
        loss = log_loss(splits.valid.label, model.predict_proba(valid)[:, 1])
        if best is None or loss < best[0]:
            best = (loss, strength, model)
    assert best is not None, "no strength to try"
    _, strength, model = best
    seconds = time.perf_counter() - start
    probability = model.predict_proba(splits.one_hot(splits.test))[:, 1]
    return figures_of(probability, splits.test, seconds, f"C {strength}")


def gradient_boosting(splits: Splits, leaves: Sequence[int] = (31, 127)) -> Figures:
    """LightGBM with categorical splits, stopped by the valid log loss; the better tree size."""
    import lightgbm

    start = time.perf_counter()
    inputs = {
        name: np.concatenate([rows.numeric, rows.categorical.astype(np.float32)], axis=1)
        for name, rows in (("train", splits.train), ("valid", splits.valid), ("test", splits.test))
    }
    numeric = splits.train.numeric.shape[1]
    train = lightgbm.Dataset(
        inputs["train"],
        splits.train.label,
        categorical_feature=list(range(numeric, inputs["train"].shape[1])),
        params={"verbose": -1, "max_cat_threshold": 64},
        free_raw_data=False,
    )
    valid = lightgbm.Dataset(inputs["valid"], splits.valid.label, reference=train)
    best: tuple[float, int, Any] | None = None
    for size in leaves:
        options = {
            "objective": "binary", "learning_rate": 0.1, "num_leaves": size, "verbose": -1,
            "num_threads": torch.get_num_threads(), "seed": 0, "deterministic": True,
        }  # fmt: skip
        stop = lightgbm.early_stopping(20, verbose=False)
        model = lightgbm.train(options, train, 500, valid_sets=[valid], callbacks=[stop])
        loss = model.best_score["valid_0"]["binary_logloss"]
        if best is None or loss < best[0]:
            best = (loss, size, model)
    assert best is not None, "no size to try"
    _, size, model = best
    seconds = time.perf_counter() - start
    note = f"{size} leaves, {model.best_iteration} trees"
    return figures_of(model.predict(inputs["test"]), splits.test, seconds, note)


class PlainFM(nn.Module):
    """The factorization machine of the textbooks: look up, sum, square."""

    offsets: Tensor

    def __init__(self, sizes: Sequence[int], numeric: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.tensor([0, *sizes[:-1]]).cumsum(0))
        self.linear = nn.Embedding(sum(sizes), 1)
        self.vectors = nn.Embedding(sum(sizes), dim)
        self.numeric_linear = nn.Parameter(torch.zeros(numeric))
        self.numeric_vectors = nn.Parameter(torch.randn(numeric, dim) * 0.01)
        self.bias = nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.normal_(self.vectors.weight, std=0.01)

    def forward(self, values: Tensor, ids: Tensor) -> Tensor:
        """Logits [B] of numeric values [B, n] and local ids [B, m]."""
        ids = ids + self.offsets
        numeric = values.unsqueeze(2) * self.numeric_vectors
        vectors = torch.cat([self.vectors(ids), numeric], dim=1)
        linear = self.linear(ids).sum((1, 2)) + values @ self.numeric_linear
        pairs = (vectors.sum(1).square() - vectors.square().sum(1)).sum(1) / 2
        logits: Tensor = self.bias + linear + pairs
        return logits


def plain_fm(
    splits: Splits,
    *,
    with_bins: bool,
    dim: int = 16,
    batch_size: int = 4096,
    epochs: int = 5,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-5,
) -> Figures:
    """A `PlainFM` with dense Adam; the epoch with the best valid AUC.

    Args:
        splits: the rows.
        with_bins: feed the integers as ids of their bins instead of as their quantiles.
        dim: length of the vectors.
        batch_size: rows of a batch.
        epochs: passes.
        learning_rate: Adam's, constant.
        weight_decay: Adam's, on all weights in every step.
    """
    start = time.perf_counter()
    torch.manual_seed(0)
    columns = 0 if with_bins else splits.train.numeric.shape[1]
    extra = (BINS + 1,) * splits.train.numeric.shape[1] if with_bins else ()
    inputs = _fm_inputs(splits, with_bins)
    model = PlainFM([*splits.categories, *extra], columns, dim)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate, weight_decay=weight_decay)
    values, ids = inputs(splits.train)
    label = torch.from_numpy(splits.train.label)
    best = (0.0, 0, np.empty(0))
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(label)).split(batch_size):  # type: ignore[no-untyped-call]
            loss = F.binary_cross_entropy_with_logits(
                model(values[batch], ids[batch]), label[batch]
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        auc = roc_auc_score(splits.valid.label, _probability(model, *inputs(splits.valid)))
        if auc > best[0]:
            best = (auc, epoch, _probability(model, *inputs(splits.test)))
    note = f"epoch {best[1]} of {epochs}"
    return figures_of(best[2], splits.test, time.perf_counter() - start, note)


def _fm_inputs(splits: Splits, with_bins: bool) -> Callable[[Rows], tuple[Tensor, Tensor]]:
    def inputs(rows: Rows) -> tuple[Tensor, Tensor]:
        if with_bins:
            ids = np.concatenate([rows.categorical, rows.bins()], axis=1)
            return torch.empty(len(ids), 0), torch.from_numpy(ids)
        values = np.where(np.isnan(rows.numeric), np.array(splits.means, np.float32), rows.numeric)
        return torch.from_numpy(values), torch.from_numpy(rows.categorical)

    return inputs


@torch.no_grad()
def _probability(model: nn.Module, values: Tensor, ids: Tensor) -> Floats:
    parts = [
        model(*batch).double().sigmoid()
        for batch in zip(torch.split(values, 1 << 16), torch.split(ids, 1 << 16), strict=True)
    ]
    probability: Floats = torch.cat(parts).numpy()
    return probability
