"""The parts of `benchmarks.gpu`: each measures one thing and prints one line of JSON.

    python -m benchmarks.gpu_parts NAME [--device cuda] [--batch N] [--threads N] [--tiny] …

Ids are log-uniform over Kaggle's column sizes, drawn on the device: a column's id r comes with a
probability of about 1 / r, as in `benchmarks.train_step`, whose exact draw takes too long here.
Times are medians over single steps, on a GPU between events.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.machine import describe, versions  # isort: skip (before torch)

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmarks.record import commit
from benchmarks.train_step import NUMERIC_IDS, StockFM, column_sizes
from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.models import FM
from criteo_stream.sparse import fused
from criteo_stream.sparse.fused import AdamState, LookupGradient, Tuning
from criteo_stream.train.graphed import GraphedStep
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.step import train_step

WORK: Final = Path(tempfile.gettempdir()) / "criteo-stream-gpu"
"""Raw rows and the set prepared of them; large, so not among the results."""
DIM: Final = 16
RATE: Final = 1e-3


class Place:
    """Where a part is measured, and how much of it."""

    def __init__(self, device: str, *, tiny: bool) -> None:
        self.device = torch.device(device)
        self.on_gpu = device == "cuda"
        self.tiny = tiny

    def seconds(self, work: Callable[[], object], limit: float = 4.0) -> float:
        """Median time of a call after some to warm up, in seconds."""
        for _ in range(2 if self.tiny else 5):
            work()
        times: list[float] = []
        end = time.perf_counter() + (0.2 if self.tiny else limit)
        while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
            times.append(self._once(work))
        return median(times)

    def _once(self, work: Callable[[], object]) -> float:
        if not self.on_gpu:
            start = time.perf_counter()
            work()
            return time.perf_counter() - start
        timed: Callable[..., Any] = torch.cuda.Event
        first, last = timed(enable_timing=True), timed(enable_timing=True)
        first.record()
        work()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3  # from milliseconds

    def bandwidth(self) -> float:
        """Bytes a second that a large copy reads and writes."""
        source = torch.rand((1 << 20) if self.tiny else (1 << 28), device=self.device)
        target = torch.empty_like(source)
        return 2 * 4 * source.numel() / self.seconds(lambda: target.copy_(source), 1.0)

    def table_rows(self) -> int:
        """Rows of the tables that steps are measured on."""
        return 60_000 if self.tiny else 19_000_000


def log_uniform_ids(sizes: list[int], rows: int, device: torch.device) -> Tensor:
    """int32 [rows, columns], ids local to their column."""
    limits = torch.tensor(sizes, device=device)
    drawn = torch.rand(rows, len(sizes), device=device, dtype=torch.float64)
    ids = ((limits + 1).double() ** drawn - 1).long()
    return torch.minimum(ids, limits - 1).int()


def machine(place: Place, _: argparse.Namespace) -> dict[str, Any]:
    """Hardware, versions, and how fast memory is copied."""
    found: dict[str, Any] = {"commit": commit(), **describe(), **versions()}
    if place.on_gpu:
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "gpu_memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 1e9),
            "cuda": torch.version.cuda,
        }
        pinned = torch.empty(1 << 26, pin_memory=True)
        there = torch.empty_like(pinned, device=place.device)
        seconds = place.seconds(lambda: there.copy_(pinned, non_blocking=True), 1.0)
        found["to_gpu_gb_s"] = round(4 * pinned.numel() / seconds / 1e9, 1)
    found["copy_gb_s"] = round(place.bandwidth() / 1e9, 1)
    return found


def step(place: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """A training step of the default model: as a graph, kernel by kernel, and by reference."""
    batch, sizes = arguments.batch, column_sizes(place.table_rows())
    batches = [_batch(sizes, batch, place.device) for _ in range(4)]
    found: dict[str, Any] = {"batch": batch, "table_rows": sum(sizes)}
    bandwidth = place.bandwidth()
    floor = _least_bytes(batches, sizes) / bandwidth
    ways: dict[str, tuple[bool, bool]] = {"reference": (False, False)}
    if fused.is_available(place.device):
        ways = {"eager": (True, False)} | ways
    if place.on_gpu:
        ways = {"graph": (True, True)} | ways
    for name, (fuse, graphed) in ways.items():
        seconds = place.seconds(_our_step(batches, sizes, place, fuse=fuse, graphed=graphed))
        found |= {
            f"{name}_ms": round(seconds * 1e3, 4),
            f"{name}_rows_per_second": round(batch / seconds),
        }
        found[f"{name}_of_floor"] = round(floor / seconds, 3)
    if place.on_gpu:
        found["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return found | {"floor_ms": round(floor * 1e3, 4), "copy_gb_s": round(bandwidth / 1e9, 1)}


def _our_step(
    batches: list[Batch], sizes: list[int], place: Place, *, fuse: bool, graphed: bool
) -> Callable[[], None]:
    with place.device:
        model = FM(13, sizes[13:], DIM, bins=NUMERIC_IDS - 1, validate_ids=False)
    optimizers = Optimizers(model, fuse=fuse)
    losses = torch.zeros((), dtype=torch.float64, device=place.device)
    rows = len(batches[0][1])

    def train(batch: Batch) -> None:
        losses.add_(train_step(model, optimizers, batch, rows, 1))

    run: Callable[[Batch], None] = GraphedStep(train, rows, place.device) if graphed else train
    following = _cycle(batches)

    def once() -> None:
        optimizers.set_learning_rate(RATE)
        run(following())

    return once


def stock(place: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the literature writes: two tables, autograd, SparseAdam."""
    sizes = column_sizes(place.table_rows())
    ids, labels = _plain_batches(sizes, arguments.batch, place.device)
    with place.device:
        model = StockFM(sum(sizes), DIM)
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=RATE)

    def once() -> None:
        loss = F.binary_cross_entropy_with_logits(model(ids()), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()  # type: ignore[no-untyped-call]
        optimizer.zero_grad()

    return _rate(arguments.batch, place.seconds(once))


def dense(place: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """The same with dense gradients: fused Adam over whole tables, compiled as far as it goes."""
    sizes = column_sizes(place.table_rows())
    ids, labels = _plain_batches(sizes, arguments.batch, place.device)
    with place.device:
        model = StockFM(sum(sizes), DIM)
    model.vectors.sparse = model.linear.sparse = False
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def loss_of(batch: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(model(batch), labels)

    compiled = torch.compile(loss_of) if place.on_gpu else loss_of

    def once() -> None:
        compiled(ids()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return {"compiled": place.on_gpu} | _rate(arguments.batch, place.seconds(once))


def kernels(place: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """Where a step's time goes, and whether the kernels would gain from other settings."""
    sizes = column_sizes(place.table_rows())
    device = place.device
    batch = arguments.batch if place.on_gpu else 8  # Triton's interpreter takes its time
    found: dict[str, Any] = {"batch": batch}
    offsets = torch.tensor([0, *sizes]).cumsum(0)[:-1].to(device)
    ids = (log_uniform_ids(sizes, batch, device) + offsets).int()
    flat = ids.reshape(-1)
    found["sort_ms"] = _ms(place, lambda: torch.sort(flat, stable=True))
    if not fused.is_available(device):
        return found | {"skipped": "no kernels on this device"}
    weight = torch.rand(sum(sizes), 1 + DIM, device=device)
    sums, squares = torch.rand(batch, 1 + DIM, device=device), torch.rand(batch, device=device)
    gradient = LookupGradient(ids, sums[:, :1], sums[:, 1:], squares)
    moments = torch.zeros_like(weight), torch.zeros_like(weight)
    coefficients, rate = torch.zeros(1 + DIM, device=device), torch.full((1,), -RATE, device=device)
    state = AdamState(weight, *moments, coefficients, rate, (0.9, 0.999), 1e-8)
    settings = [fused.TUNING] if place.tiny else [
        fused.TUNING,
        *(Tuning(tile=tile, elements=e) for tile in (16, 32, 64) for e in (128, 256, 512)),
    ]  # fmt: skip
    found["sorted_update_ms"], found["sums_ms"] = {}, {}
    for tuning in settings:
        name = f"tile {tuning.tile}, elements {tuning.elements}"
        work = [
            lambda t=tuning: fused.update(gradient, state, t),
            lambda t=tuning: fused.lookup_sums(weight, ids, 1, t),
        ]
        found["sorted_update_ms"][name] = _ms(place, work[0])
        found["sums_ms"][name] = _ms(place, work[1])
    return found


def _ms(place: Place, work: Callable[[], object]) -> float:
    return round(place.seconds(work, 0.5) * 1e3, 4)


def _batch(sizes: list[int], rows: int, device: torch.device) -> Batch:
    ids = log_uniform_ids(sizes[13:], rows, device)
    quantiles = torch.rand(rows, 13, device=device)
    return (quantiles, ids), torch.rand(rows, device=device).round()


def _plain_batches(
    sizes: list[int], rows: int, device: torch.device
) -> tuple[Callable[[], Tensor], Tensor]:
    """Batches of int64 table rows [rows, 39], one after the other, and labels for all of them."""
    offsets = torch.tensor([0, *sizes]).cumsum(0)[:-1].to(device)
    ids = [log_uniform_ids(sizes, rows, device).long() + offsets for _ in range(4)]
    return _cycle(ids), torch.rand(rows, device=device).round()


def _cycle(items: list[Any]) -> Callable[[], Any]:
    state = {"next": 0}

    def following() -> Any:
        state["next"] += 1
        return items[state["next"] % len(items)]

    return following


def _least_bytes(batches: list[Batch], sizes: list[int]) -> float:
    """Bytes that a step must move; sorting comes on top.

    The input is read once, each distinct row and both its moments are read and written once.
    """
    ids = torch.stack([categorical for (_, categorical), _ in batches])  # [4, B, 26]
    distinct = float(sum(len(column.unique()) for column in ids.flatten(0, 1)[: ids.shape[1]].t()))
    rows = ids.shape[1]
    return rows * 160 + (distinct + 13 * NUMERIC_IDS) * 4 * (1 + DIM) * 6


def _rate(rows: int, seconds: float) -> dict[str, Any]:
    return {
        "batch": rows,
        "ms": round(seconds * 1e3, 4),
        "rows_per_second": round(rows / seconds),
    }


def prepare(_: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """Synthetic rows, and a set prepared of them on all cores, for the parts that follow."""
    from criteo_stream.prepare.pipeline import preprocess
    from criteo_stream.synthetic import write_synthetic

    WORK.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    write_synthetic(WORK / "raw.tsv", arguments.rows, 1)
    seconds = time.perf_counter() - start
    made = preprocess(WORK / "raw.tsv", WORK / "data", min_count=2, restart=True, quiet=True)
    return {
        "rows": arguments.rows,
        "synthetic_seconds": round(seconds, 1),
        "prepare_rows_per_second": round(arguments.rows / made.seconds),
        "cores": len(os.sched_getaffinity(0)),
    }


def train(place: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """Training end to end from the set on disk, as the command does it."""
    from criteo_stream.runs.config import TrainConfig
    from criteo_stream.train.trainer import Trainer

    workers = min(8, len(os.sched_getaffinity(0)))
    config = TrainConfig(
        batch_size=arguments.batch, epochs=2, embedding_dim=DIM, model=arguments.model
    )
    with tempfile.TemporaryDirectory() as folder:
        result = Trainer(
            WORK / "data",
            Path(folder) / "run",
            config,
            device="cuda" if place.on_gpu else "cpu",
            workers=workers,
            quiet=True,
        ).fit()
    last = result.history[-1]
    return {
        "model": arguments.model,
        "batch": arguments.batch,
        "rows_per_second_by_epoch": [line.rows_per_second for line in result.history],
        "waited_for_data": [line.waited_for_data for line in result.history],
        "auc": last.auc,
        "log_loss": last.log_loss,
        "seconds": round(result.seconds, 1),
        "peak_device_memory_bytes": result.peak_device_memory_bytes,
        "workers": workers,
    }


def loader(place: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """Reading the set as batches, with more and more threads."""
    dataset = CriteoDataset(WORK / "data", "train", arguments.batch)
    cores, found = len(os.sched_getaffinity(0)), {}
    for workers in (1, 2, 4, 8, 16):
        if workers > cores:
            break
        dataset.set_epoch(workers)
        start = time.perf_counter()
        for _ in CriteoLoader(dataset, workers=workers, pin_memory=place.on_gpu):
            pass
        found[str(workers)] = round(dataset.rows / (time.perf_counter() - start))
    return {"batch": arguments.batch, "rows_per_second_by_workers": found}


def threads(_: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """Preparing on some of the cores."""
    from criteo_stream.prepare.pipeline import preprocess

    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < arguments.threads:
        return {"skipped": f"{len(cores)} cores"}
    os.sched_setaffinity(0, set(cores[: arguments.threads]))
    with tempfile.TemporaryDirectory() as folder:
        made = preprocess(
            WORK / "raw.tsv",
            Path(folder) / "data",
            min_count=2,
            workers=arguments.threads,
            quiet=True,
        )
    rows = sum(made.manifest.rows.values())
    return {"threads": arguments.threads, "rows_per_second": round(rows / made.seconds)}


PARTS: Final[dict[str, Callable[[Place, argparse.Namespace], dict[str, Any]]]] = {
    part.__name__: part
    for part in (machine, step, stock, dense, kernels, prepare, train, loader, threads)
}


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--batch", type=int, default=65536)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="fm")
    parser.add_argument("--tiny", action="store_true", help="to try it, not to measure")
    arguments = parser.parse_args()
    place = Place(arguments.device, tiny=arguments.tiny)
    print(json.dumps(PARTS[arguments.part](place, arguments)))


if __name__ == "__main__":
    main()
