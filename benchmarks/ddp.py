"""Training steps on several ranks: time in compute, exchange and update, and bytes exchanged.

    python -m benchmarks.ddp [--quick] [--ranks 1 2 4]

Stock is ``DistributedDataParallel`` as it is: the model's sparse gradients through gloo's sparse
all-reduce, and ``torch.optim.SparseAdam``. Ours is the package's exchange and optimizer. Ranks
run on this machine's cores, one compute thread each; one process uses as many threads as the
largest number of ranks that have a core of their own.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.machine import table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.parallel import DistributedDataParallel

from benchmarks.train_step import StockFM, column_sizes, zipf_ids
from criteo_stream.models import FM
from criteo_stream.models.field_table import FieldLayout
from criteo_stream.sparse import exchange
from criteo_stream.train.optimizers import Optimizers

TABLE_ROWS: Final = 1_500_000
BINS: Final = 32


class _Stopwatch:
    """Adds up the time and the bytes of the sparse exchange."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.bytes = 0
        self._average = exchange.average_sparse
        exchange.average_sparse = self._timed

    def _timed(self, gradient: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        result = self._average(gradient)
        self.seconds += time.perf_counter() - start
        self.bytes += gradient._nnz() * (4 + 4 * gradient.shape[1])
        return result


def rank_steps(
    rank: int, world_size: int, batch: int, steps: int, stock: bool, threads: int, folder: str
) -> None:
    """Run steps on one rank; rank 0 writes the medians."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    sizes = column_sizes(TABLE_ROWS)[13:]
    categories = [*sizes, *[BINS + 1] * 13]
    model: nn.Module = (
        StockFM(sum(categories), 16) if stock else FM(13, sizes, 16, bins=BINS, validate_ids=False)
    )
    forward = model
    watch = _Stopwatch()
    if world_size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
        )
        forward = DistributedDataParallel(model) if stock else exchange.distributed(model)
    stepper = torch.optim.SparseAdam(model.parameters()) if stock else None
    optimizers = None if stock else Optimizers(model)
    if optimizers is not None:
        optimizers.set_learning_rate(1e-3)
    offsets = torch.tensor(FieldLayout(tuple(categories)).offsets)
    mine = batch // world_size
    data = [
        (torch.rand(mine, 13), zipf_ids(sizes, mine, 100 * rank + i), torch.rand(mine).round())
        for i in range(4)
    ]
    whole, exchanged, updated, sent = [], [], [], []
    for step in range(steps + 2):
        x_num, x_cat, label = data[step % 4]
        before, sent_before = watch.seconds, watch.bytes
        start = time.perf_counter()
        if stock:
            logits = forward(torch.cat([x_cat, (x_num * BINS).int()], 1) + offsets)
        else:
            logits = forward(x_num, x_cat)
        F.binary_cross_entropy_with_logits(logits, label).backward()  # type: ignore[no-untyped-call]
        middle = time.perf_counter()
        if stepper is not None:
            stepper.step()  # type: ignore[no-untyped-call]
        if optimizers is not None:
            optimizers.step()
        end = time.perf_counter()
        model.zero_grad()
        if step >= 2:
            whole.append(end - start)
            exchanged.append(watch.seconds - before)
            updated.append(end - middle)
            sent.append(watch.bytes - sent_before)
    if rank == 0:
        parts = [median(x) for x in (whole, exchanged, updated)]
        Path(folder, "result.json").write_text(json.dumps([*parts, median(sent)]))
    if world_size > 1:
        dist.destroy_process_group()


def measure(world_size: int, batch: int, steps: int, *, stock: bool) -> dict[str, Any]:
    """Medians of one setting, in processes of its own."""
    cores = len(os.sched_getaffinity(0))
    threads = cores if world_size == 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world_size, batch, steps, stock, threads, folder)
        mp.spawn(rank_steps, arguments, nprocs=world_size)  # type: ignore[attr-defined,no-untyped-call]
        whole, exchanged, update, sent = json.loads(Path(folder, "result.json").read_text())
    return {
        "recipe": "stock" if stock else "ours",
        "ranks": world_size,
        "global batch": batch,
        "rows/s": round(batch / whole),
        "step ms": whole * 1e3,
        "compute ms": (whole - exchanged - update) * 1e3,
        "exchange ms": exchanged * 1e3,
        "update ms": update * 1e3,
        "MB sent a rank": sent / 1e6,
    }


def main() -> None:
    """Measure; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one batch size, few steps")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    rows = []
    for batch in (8192,) if arguments.quick else (8192, 65536):
        for world_size in arguments.ranks[:2] if arguments.quick else arguments.ranks:
            for stock in (True, False):
                steps = 11 if arguments.quick else 31
                rows.append(measure(world_size, batch, steps, stock=stock))
    print(table(rows))
    print(json.dumps({**origin("ddp"), "rows": rows}))


if __name__ == "__main__":
    main()
