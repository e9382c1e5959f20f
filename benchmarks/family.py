"""A training step of every model against its stock form, alternating in one run.

    python -m benchmarks.family [--quick] [--models deepfm fibinet …] [--hidden 64,32]

Stock is what the literature writes: two ``nn.Embedding(sparse=True)`` tables (vectors and linear
weights), the interaction by autograd, ``torch.optim.SparseAdam`` for the tables and Adam for the
rest. Ours is the same model of `criteo_stream` with bins only: both look up the same 39 ids.
Ids are those of `benchmarks.train_step`: Zipf laws over Kaggle's column sizes, cut to 1.5 M rows.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

from benchmarks.machine import alternate, ratio, table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.train_step import BATCHES, NUMERIC_IDS, column_sizes, cycle, zipf_ids
from criteo_stream.models import FFM, FM, BilinearFFM, DeepFM, FiBiNET, FieldModel
from criteo_stream.models.inputs import InputOptions
from criteo_stream.models.logistic import LinearOnly
from criteo_stream.train.optimizers import Optimizers

FIELDS: Final = 39
PAIRS: Final = list(itertools.combinations(range(FIELDS), 2))
FIRST, SECOND = (list(side) for side in zip(*PAIRS, strict=True))


class StockFM(nn.Module):
    """Pairs in O(nk)."""

    def forward(self, v: Tensor) -> Tensor:
        """[B, F, k] → [B]."""
        return (v.sum(1).square() - v.square().sum(1)).sum(1) / 2


class StockLR(nn.Module):
    """No pairs."""

    def forward(self, v: Tensor) -> Tensor:
        """[B, F, k] → [B]."""
        return v.new_zeros(len(v))


class StockFFM(nn.Module):
    """A loop over the pairs."""

    def forward(self, v: Tensor) -> Tensor:
        """[B, F, F·k] → [B]."""
        v = v.view(len(v), FIELDS, FIELDS, -1)
        total = v.new_zeros(len(v))
        for i, j in PAIRS:
            total = total + (v[:, i, j] * v[:, j, i]).sum(1)
        return total


class StockBilinear(nn.Module):
    """p_ij = (v_i W_i) ∘ v_j of every pair."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(FIELDS - 1))

    def products(self, v: Tensor) -> Tensor:
        """[B, F, k] → [B, pairs, k]."""
        turned = torch.stack([linear(v[:, i]) for i, linear in enumerate(self.each)], dim=1)
        return turned[:, FIRST] * v[:, SECOND]

    def forward(self, v: Tensor) -> Tensor:
        """[B, F, k] → [B]."""
        return self.products(v).sum((1, 2))


class StockDeepFM(nn.Module):
    """The FM's pairs and a perceptron."""

    def __init__(self, dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.fm = StockFM()
        self.mlp = _perceptron(FIELDS * dim, hidden)

    def forward(self, v: Tensor) -> Tensor:
        """[B, F, k] → [B]."""
        logits: Tensor = self.fm(v) + self.mlp(v.flatten(1)).squeeze(1)
        return logits


class StockFiBiNET(nn.Module):
    """Weighted fields, pairs of both, a perceptron; with the same input of a pair as ours."""

    def __init__(self, dim: int, hidden: Sequence[int], *, hadamard: bool) -> None:
        super().__init__()
        width = FIELDS // 3
        self.senet = nn.Sequential(
            nn.Linear(FIELDS, width, bias=False), nn.ReLU(),
            nn.Linear(width, FIELDS, bias=False), nn.ReLU(),
        )  # fmt: skip
        self.plain, self.weighted = StockBilinear(dim), StockBilinear(dim)
        self.hadamard = hadamard
        self.mlp = _perceptron(2 * len(PAIRS) * (dim if hadamard else 1), hidden)

    def forward(self, v: Tensor) -> Tensor:
        """[B, F, k] → [B]."""
        weighted = v * self.senet(v.mean(2)).unsqueeze(2)
        pairs = torch.cat([self.plain.products(v), self.weighted.products(weighted)], dim=1)
        inputs = pairs.flatten(1) if self.hadamard else pairs.sum(2)
        logits: Tensor = self.mlp(inputs).squeeze(1)
        return logits


def _perceptron(width: int, hidden: Sequence[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([width, *hidden]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([width, *hidden][-1], 1))


Step = Callable[[], None]


def stock_step(
    interaction: nn.Module, ids: list[Tensor], labels: Tensor, rows: int, width: int
) -> Step:
    """A step of the stock recipe."""
    vectors = nn.Embedding(rows, width, sparse=True)
    linear = nn.Embedding(rows, 1, sparse=True)
    nn.init.normal_(vectors.weight, std=0.01)
    sparse = [*(vectors.parameters() if width else ()), *linear.parameters()]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.SparseAdam(sparse)]
    if dense := list(interaction.parameters()):
        optimizers.append(torch.optim.Adam(dense))
    batches = cycle(ids)

    def step() -> None:
        batch = next(batches)
        logits = linear(batch).sum((1, 2)) + interaction(vectors(batch))
        F.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def our_step(model: nn.Module, ids: list[Tensor], labels: Tensor) -> Step:
    """A step of this package's model, whose bins are the numeric columns' ids."""
    optimizers = Optimizers(model)
    optimizers.set_learning_rate(1e-3)
    batches = cycle([((b[:, :13] + 0.5) / NUMERIC_IDS, b[:, 13:].contiguous()) for b in ids])

    def step() -> None:
        logits = model(*next(batches))
        F.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizers.step()
        optimizers.zero_grad()

    return step


def forms(name: str, hidden: Sequence[int]) -> tuple[nn.Module | None, nn.Module, int, int]:
    """Ours (None is `FM`) and the stock interaction, the vectors' length, and vectors an id."""
    dim, fields = 16, FIELDS
    if name == "lr":
        return LinearOnly(fields, dim), StockLR(), dim, 0
    if name == "fm":
        return None, StockFM(), dim, 1
    if name == "ffm":
        return FFM(fields, 4), StockFFM(), 4, fields
    if name == "bilinear-ffm":
        return BilinearFFM(fields, dim, bilinear="each"), StockBilinear(dim), dim, 1
    if name == "deepfm":
        return DeepFM(fields, dim, hidden=hidden), StockDeepFM(dim, hidden), dim, 1
    pairs = "hadamard" if name == "fibinet-hadamard" else "inner"
    ours = FiBiNET(fields, dim, bilinear="each", pairs=pairs, hidden=hidden)
    return ours, StockFiBiNET(dim, hidden, hadamard=pairs == "hadamard"), dim, 1


def measure(
    name: str, hidden: Sequence[int], batch: int, table_rows: int, repetitions: int
) -> dict[str, Any]:
    """Medians of one model."""
    sizes = column_sizes(table_rows)
    offsets = torch.from_numpy(np.cumsum([0, *sizes[:-1]]))
    local = [zipf_ids(sizes, batch, seed) for seed in range(BATCHES)]
    labels = torch.rand(batch).round()
    interaction, stock, dim, vectors = forms(name, hidden)
    # As training has it: ids have been checked before.
    options = InputOptions(numeric="bins", bins=NUMERIC_IDS, validate_ids=False)
    model: nn.Module = (
        FM(13, sizes[13:], dim, **options)
        if interaction is None
        else FieldModel(13, sizes[13:], dim, interaction, **options)
    )
    works = {
        "stock": stock_step(
            stock, [b.long() + offsets for b in local], labels, sum(sizes), dim * vectors
        ),
        "ours": our_step(model, local, labels),
    }
    alternate(works, 2)
    seconds = alternate(works, repetitions)
    return {
        "model": name,
        "batch": batch,
        "table rows": sum(sizes),
        "dim": dim,
        "hidden": ",".join(map(str, hidden)) if "mlp" in dict(stock.named_children()) else "",
        "stock rows/s": round(batch / median(seconds["stock"])),
        "ours rows/s": round(batch / median(seconds["ours"])),
        "ratio": ratio(seconds, "stock", "ours"),
        "stock ms": median(seconds["stock"]) * 1e3,
        "ours ms": median(seconds["ours"]) * 1e3,
    }


NAMES: Final = ("fm", "lr", "ffm", "bilinear-ffm", "deepfm", "fibinet")
USUAL: Final = tuple(name for name in NAMES if name != "ffm")
"""An FFM's stock form takes a minute a step: only where it is asked for."""
QUICK: Final = ("deepfm", "fibinet")


def main() -> None:
    """Measure all models; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer models, table rows and repetitions"
    )
    parser.add_argument("--models", nargs="+", choices=[*NAMES, "fibinet-hadamard"])
    parser.add_argument("--hidden", default="64,32", help="hidden layers of the perceptrons")
    parser.add_argument("--threads", type=int, default=None, help="compute threads")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    hidden = [int(size) for size in arguments.hidden.split(",")]
    table_rows, repetitions = (300_000, 3) if arguments.quick else (1_500_000, 9)
    models = arguments.models or (QUICK if arguments.quick else USUAL)
    rows = [measure(n, hidden, 8192, table_rows, repetitions) for n in models]
    fm = next((row["ours rows/s"] for row in rows if row["model"] == "fm"), None)
    if fm is not None:
        rows = [{**row, "rows/s of fm's": row["ours rows/s"] / fm} for row in rows]
    print(table(rows))
    print(f"\n{torch.get_num_threads()} threads\n")
    print(json.dumps({**origin("family"), "rows": rows}))


if __name__ == "__main__":
    main()
