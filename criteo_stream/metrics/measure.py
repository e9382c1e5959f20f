"""A model's figures on a split: exact over all rows and all ranks."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Final

import torch
from torch import Tensor, nn

from criteo_stream.base.progress import Progress
from criteo_stream.base.ranks import Ranks
from criteo_stream.data.copy_ahead import copied_ahead
from criteo_stream.data.dataset import Batch, CriteoDataset
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
    batches: Iterable[Batch] | None = None,
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """This rank's share of a split, batch by batch: each model's logits [B], and labels [B].

    Logits are those of the split's own rows, also where its negatives were thinned. With
    ``batches``, only those are scored, and no others are read.
    """
    training = [model.training for model in models]
    for model in models:
        model.eval()
    name, shift = f"evaluate {dataset.split}", dataset.logit_shift
    if batches is None:
        batches = CriteoLoader(dataset, workers=workers, pin_memory=ranks.device.type == "cuda")
    with Progress(name, dataset.rows, quiet=quiet or not ranks.is_writer) as bar:
        for inputs, label in copied_ahead(batches, ranks.device):
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


def first_batches(
    dataset: CriteoDataset, number: int, workers: int = 1, *, pin_memory: bool = False
) -> Iterator[Batch]:
    """This rank's share of the first batches of a split, each with rows from all over it."""
    loader = CriteoLoader(dataset, workers=workers, pin_memory=pin_memory)
    with closing(iter(loader)) as loaded:
        yield from islice(loaded, number)
