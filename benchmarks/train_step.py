"""One training step against the stock recipe, alternating in one run.

    python -m benchmarks.train_step [--quick] [--threads N]

Stock is what the literature writes: two ``nn.Embedding(sparse=True)`` tables (vectors and linear
weights), the FM by autograd, ``torch.optim.SparseAdam``. Ours is `criteo_stream`'s interaction and
optimizer on the same look-ups (the 39-field kernel), with compiled kernels where numba is
installed and without; and the default model with numeric values and bins. Ids follow Zipf laws
over Kaggle's column sizes, cut to the given number of table rows.

The floor is the time to move, at the measured copy bandwidth, the bytes that must move: every
look-up's row once, and weight and moments of the distinct rows read and written.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.machine import alternate, ratio, table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.models import FM
from criteo_stream.sparse.acceleration import kernels, unaccelerated
from criteo_stream.sparse.adam import RowwiseSparseAdam
from criteo_stream.sparse.gradients import keep_coalesced
from criteo_stream.sparse.lookups import embedding_sums
from criteo_stream.sparse.table import table_zeros
from criteo_stream.train.optimizers import Optimizers

KAGGLE: Final = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992,
    5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
NUMERIC_IDS: Final = 50
BATCHES: Final = 4


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    batch: int
    table_rows: int
    dim: int


FULL: Final = (
    Setting(8192, 120_000, 8),
    Setting(2048, 1_500_000, 16),
    Setting(8192, 1_500_000, 16),
    Setting(65536, 19_000_000, 16),
)


def column_sizes(table_rows: int) -> list[int]:
    """39 column sizes: 13 of bins, and Kaggle's cut to a common limit that gives the total."""
    low, high = 1, max(KAGGLE)
    while low < high:
        middle = (low + high + 1) // 2
        total = 13 * NUMERIC_IDS + sum(min(c, middle) for c in KAGGLE)
        low, high = (middle, high) if total <= table_rows else (low, middle - 1)
    return [NUMERIC_IDS] * 13 + [min(c, low) for c in KAGGLE]


def zipf_ids(sizes: list[int], rows: int, seed: int) -> Tensor:
    """int32 [rows, columns], ids local to their column, weight 1 / rank."""
    random = np.random.default_rng(seed)
    columns = []
    for size in sizes:
        bounds = np.cumsum(1 / np.arange(1, size + 1))
        columns.append(np.searchsorted(bounds / bounds[-1], random.random(rows)))
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.int32))


class StockFM(nn.Module):
    """The FM as the literature writes it: two sparse tables, the rest by autograd."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(rows, dim, sparse=True)
        self.linear = nn.Embedding(rows, 1, sparse=True)
        nn.init.normal_(self.vectors.weight, std=0.01)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [B] of int64 [B, n], rows of the tables."""
        v = self.vectors(ids)
        pairs = (v.sum(1).square() - v.square().sum(1)).sum(1) / 2
        logits: Tensor = self.linear(ids).sum((1, 2)) + pairs
        return logits


def stock_step(ids: list[Tensor], labels: Tensor, rows: int, dim: int) -> Callable[[], None]:
    """A step of the stock recipe."""
    model = StockFM(rows, dim)
    optimizer = torch.optim.SparseAdam(model.parameters())
    batches = cycle(ids)

    def step() -> None:
        logits = model(next(batches))
        F.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()  # type: ignore[no-untyped-call]
        optimizer.zero_grad()

    return step


def kernel_step(ids: list[Tensor], labels: Tensor, rows: int, dim: int) -> Callable[[], None]:
    """A step of this package's sparse path on the same look-ups."""
    weight = nn.Parameter(table_zeros(rows, 1 + dim))
    nn.init.normal_(weight, std=0.01)
    keep_coalesced(weight)
    scratch = table_zeros(rows, 1)
    optimizer = RowwiseSparseAdam([weight])
    batches = cycle(ids)

    def step() -> None:
        sums, squares = embedding_sums(weight, next(batches), scratch, ascending_columns=True)
        logits = sums[:, 0] + (sums[:, 1:].square().sum(1) - squares) / 2
        F.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def model_step(ids: list[Tensor], labels: Tensor, sizes: list[int], dim: int) -> Callable[[], None]:
    """A step of the default model: 26 categorical ids, 13 values and their bins."""
    model = FM(13, sizes[13:], dim, bins=NUMERIC_IDS, validate_ids=False)
    optimizers = Optimizers(model)
    optimizers.set_learning_rate(1e-3)
    numeric = torch.rand(len(labels), 13)
    batches = cycle([batch[:, 13:].contiguous() for batch in ids])

    def step() -> None:
        logits = model(numeric, next(batches))
        F.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizers.step()
        optimizers.zero_grad()

    return step


def cycle(items: list[Any]) -> Any:
    """The items over and over."""
    while True:
        yield from items


def copy_bandwidth() -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.zeros(64 << 20)
    target = torch.empty_like(source)
    seconds = alternate({"copy": lambda: target.copy_(source)}, 5)["copy"]
    return 2 * source.numel() * 4 / min(seconds)


def measure(setting: Setting, repetitions: int, bandwidth: float) -> dict[str, Any]:
    """Medians of one setting."""
    sizes = column_sizes(setting.table_rows)
    offsets = torch.tensor([0, *np.cumsum(sizes)[:-1]], dtype=torch.int32)
    local = [zipf_ids(sizes, setting.batch, seed) for seed in range(BATCHES)]
    ids = [batch + offsets for batch in local]
    labels = torch.rand(setting.batch).round()
    rows = sum(sizes)
    ours = kernel_step(ids, labels, rows, setting.dim)
    works = {
        "stock": stock_step([i.long() for i in ids], labels, rows, setting.dim),
        "ours": ours,
        "plain": unaccelerated()(ours),
        "model": model_step(local, labels, sizes, setting.dim),
    }
    alternate(works, 2)
    seconds = alternate(works, repetitions)
    distinct = median(len(set(batch.flatten().tolist())) for batch in ids)
    moved = 4 * (1 + setting.dim) * (ids[0].numel() + 6 * distinct)
    rate = {name: setting.batch / median(times) for name, times in seconds.items()}
    return {
        "batch": setting.batch,
        "table rows": rows,
        "dim": setting.dim,
        "stock rows/s": round(rate["stock"]),
        "ours rows/s": round(rate["ours"]),
        "ratio": ratio(seconds, "stock", "ours"),
        "ratio without numba": ratio(seconds, "stock", "plain"),
        "default model rows/s": round(rate["model"]),
        "model ratio": ratio(seconds, "stock", "model"),
        "step ms": median(seconds["ours"]) * 1e3,
        "floor ms": moved / bandwidth * 1e3,
    }


def main() -> None:
    """Measure all settings; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller settings, fewer repetitions")
    parser.add_argument("--threads", type=int, default=None, help="compute threads")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = FULL[:3] if arguments.quick else FULL
    bandwidth = copy_bandwidth()
    rows = [measure(s, 7 if arguments.quick else 11, bandwidth) for s in settings]
    print(table(rows))
    print(
        f"\ncopy bandwidth {bandwidth / 1e9:.1f} GB/s, {torch.get_num_threads()} threads, "
        f"numba: {kernels() is not None}\n"
    )
    print(json.dumps({**origin("train_step"), "rows": rows}))


if __name__ == "__main__":
    main()
