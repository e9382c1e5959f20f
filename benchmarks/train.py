"""Training from shards on disk, end to end, against the stock recipe behind the same loader.

    python -m benchmarks.train [--quick] [--data DATA] [--batch-size N] [--repetitions N]

``end to end`` is what ``criteo-stream train`` does with the whole split: loader, step, running
loss, progress, from the first row group on. ``step`` is the same step on the same batches, but in
memory; ``stock`` the recipe of `benchmarks.train_step` behind the same loader, on the first rows
only. Without ``--data`` synthetic rows are prepared.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.machine import table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmarks.train_step import StockFM
from criteo_stream.base.memory import keep_freed_memory
from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.data.manifest import Manifest
from criteo_stream.models import FM, build_model
from criteo_stream.models.field_table import FieldLayout
from criteo_stream.prepare.pipeline import preprocess
from criteo_stream.runs.config import ResolvedConfig, TrainConfig
from criteo_stream.synthetic import write_synthetic
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.trainer import Trainer

STOCK_ROWS: Final = 400_000
"""What ``stock`` is timed on."""


def stock_rate(dataset: CriteoDataset, dim: int, bins: int) -> float:
    """Rows a second of the stock recipe behind our loader; the same ids as the default model."""
    categories = [*dataset.manifest.categories, *[bins + 1] * 13]
    offsets = torch.tensor(FieldLayout(tuple(categories)).offsets)
    model = StockFM(sum(categories), dim)
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=0.005)
    rows, start = 0, time.perf_counter()
    for (numeric, categorical), label in CriteoLoader(dataset):
        binned = (numeric.nan_to_num(1.0) * bins).long().clamp_(max=bins)
        ids = torch.cat([categorical.long(), binned], 1) + offsets
        logits = model(ids)
        F.binary_cross_entropy_with_logits(logits, label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()  # type: ignore[no-untyped-call]
        optimizer.zero_grad()
        rows += len(label)
        if rows >= STOCK_ROWS:
            break
    return rows / (time.perf_counter() - start)


def step_rate(config: ResolvedConfig, manifest: Manifest, batches: list[Batch]) -> float:
    """Rows a second of our step on batches in memory."""
    model = build_model(config, manifest)
    assert isinstance(model, FM)
    optimizers = Optimizers(model)
    optimizers.set_learning_rate(0.005)
    rows, start = 0, time.perf_counter()
    for (numeric, categorical), label in batches:
        loss: Tensor = F.binary_cross_entropy_with_logits(model(numeric, categorical), label)
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()
        optimizers.step()
        optimizers.zero_grad()
        rows += len(label)
    return rows / (time.perf_counter() - start)


def measure(data: Path, batch_size: int, repetitions: int) -> dict[str, Any]:
    """Medians over alternating repetitions; each trains a whole epoch."""
    dataset = CriteoDataset(data, "train", batch_size)
    config = TrainConfig(batch_size=batch_size, epochs=1).resolved(dataset.rows)
    kept = list(CriteoLoader(dataset))
    rates: dict[str, list[float]] = {"stock": [], "step": [], "end to end": []}
    waited, memory = 0.0, 0
    for _ in range(repetitions):
        rates["stock"].append(stock_rate(dataset, config.embedding_dim, config.bins))
        rates["step"].append(step_rate(config, dataset.manifest, kept))
        with tempfile.TemporaryDirectory() as folder:
            result = Trainer(data, Path(folder) / "run", config, quiet=True).fit()
        rates["end to end"].append(result.rows_per_second)
        waited = result.history[-1].waited_for_data
        memory = result.peak_memory_bytes
    return {
        "batch": batch_size,
        "stock rows/s": round(median(rates["stock"])),
        "step rows/s": round(median(rates["step"])),
        "end to end rows/s": round(median(rates["end to end"])),
        "against stock": median(
            e / s for e, s in zip(rates["end to end"], rates["stock"], strict=True)
        ),
        "against step": median(
            e / s for e, s in zip(rates["end to end"], rates["step"], strict=True)
        ),
        "waited for data": f"{waited:.1%}",
        "peak memory MB": round(memory / 1e6),
    }


def main() -> None:
    """Measure; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows and repetitions")
    parser.add_argument("--data", type=Path, help="a prepared data set")
    parser.add_argument("--batch-size", type=int, action="append", help="default 2048 and 8192")
    parser.add_argument("--repetitions", type=int, help="default 7, quick 3")
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command does
    with ExitStack() as stack:
        data = arguments.data
        if data is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write_synthetic(folder / "raw.tsv", 500_000 if arguments.quick else 4_000_000)
            data = folder / "data"
            preprocess(folder / "raw.tsv", data, quiet=True)
        repetitions = arguments.repetitions or (3 if arguments.quick else 7)
        sizes = arguments.batch_size or [2048, 8192]
        rows = [measure(data, size, repetitions) for size in sizes]
    print(table(rows))
    print(json.dumps({**origin("train"), "rows": rows}))


if __name__ == "__main__":
    main()
