"""A model's figures on a split: exact over all rows and all ranks."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Final

import torch
from torch import Tensor, nn

from criteo_stream.base.progress import Progress
from criteo_stream.base.ranks import Ranks
from criteo_stream.data.copy_ahead import copied_ahead
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.metrics.streaming import BinaryMetrics

EVALUATION_BATCH: Final = 65536
"""Rows of an evaluation batch, over all ranks."""


@torch.no_grad()
def scored(
    models: Sequence[nn.Module],
    dataset: CriteoDataset,
    ranks: Ranks,
    *,
    workers: int = 1,
    quiet: bool = False,
    batches: int | None = None,
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """This rank's share of a split, batch by batch: each model's logits [B], and labels [B].

    Logits are those of the split's own rows, also where its negatives were thinned. Only the first
    ``batches`` are read, if that is given; each has rows from all over the split.
    """
    training = [model.training for model in models]
    for model in models:
        model.eval()
    name, shift = f"evaluate {dataset.split}", dataset.logit_shift
    loader = CriteoLoader(dataset, workers=workers, pin_memory=ranks.device.type == "cuda")
    with (
        Progress(name, dataset.rows, quiet=quiet or not ranks.is_writer) as bar,
        closing(iter(loader)) as loaded,
        closing(copied_ahead(islice(loaded, batches), ranks.device)) as copied,
    ):
        for inputs, label in copied:
            logits = [model(*inputs) for model in models]
            yield [one + shift for one in logits] if shift else logits, label
            bar.advance(len(label))
    for model, was_training in zip(models, training, strict=True):
        model.train(was_training)


def measure(
    model: nn.Module,
    *datasets: CriteoDataset,
    ranks: Ranks,
    workers: int = 1,
    quiet: bool = False,
) -> BinaryMetrics:
    """Score this rank's share of some splits."""
    metrics = BinaryMetrics(ranks)
    for dataset in datasets:
        for (logits,), label in scored([model], dataset, ranks, workers=workers, quiet=quiet):
            metrics.update(logits, label)
    return metrics


def measure_on_the_way(
    model: nn.Module,
    dataset: CriteoDataset,
    batches: int,
    *,
    ranks: Ranks,
    workers: int = 1,
    to_the_end: bool,
) -> Iterator[BinaryMetrics]:
    """Score the first batches of a split, and maybe the rest: the metrics after each of the two."""
    metrics = BinaryMetrics(ranks)
    last = dataset.steps if to_the_end else min(batches, dataset.steps)
    found = scored([model], dataset, ranks, workers=workers, quiet=True, batches=last)
    for number, ((logits,), label) in enumerate(found, start=1):
        metrics.update(logits, label)
        if number in {batches, last}:
            yield metrics
