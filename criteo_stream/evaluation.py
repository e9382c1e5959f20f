"""A model's figures on a split: exact over all rows and all ranks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from criteo_stream.dataset import CriteoDataset
from criteo_stream.distributed import Ranks, process_group
from criteo_stream.errors import DataSetError, UsageError
from criteo_stream.intervals import auc_interval
from criteo_stream.loader import CriteoLoader
from criteo_stream.loading import LoadedRun, load_run
from criteo_stream.metrics import BinaryMetrics
from criteo_stream.order import LANES
from criteo_stream.plots import plot_scores
from criteo_stream.progress import Progress
from criteo_stream.run import RunFolder
from criteo_stream.schema import SPLITS
from criteo_stream.scores import ScoreCounts

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
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """This rank's share of a split, batch by batch: each model's logits [B], and labels [B]."""
    training = [model.training for model in models]
    for model in models:
        model.eval()
    name = f"evaluate {dataset.split}"
    loader = CriteoLoader(dataset, workers=workers, pin_memory=ranks.device.type == "cuda")
    with Progress(name, dataset.rows, quiet=quiet or not ranks.is_writer) as bar:
        for (numeric, categorical), label in loader:
            inputs = [
                tensor.to(ranks.device, non_blocking=True) for tensor in (numeric, categorical)
            ]
            yield (
                [model(*inputs) for model in models],
                label.to(ranks.device, non_blocking=True),
            )
            bar.advance(len(label))
    for model, was_training in zip(models, training, strict=True):
        model.train(was_training)


def measure(
    model: nn.Module, dataset: CriteoDataset, ranks: Ranks, *, workers: int = 1, quiet: bool = False
) -> BinaryMetrics:
    """Score this rank's share of a split."""
    metrics = BinaryMetrics().to(ranks.device)
    for (logits,), label in scored([model], dataset, ranks, workers=workers, quiet=quiet):
        metrics.update(logits, label)
    return metrics


def evaluate(
    model: nn.Module, dataset: CriteoDataset, ranks: Ranks, *, workers: int = 1, quiet: bool = False
) -> dict[str, Any]:
    """Score this rank's share of a split; figures over all ranks.

    Returns:
        rows, positives, auc, log_loss, ne, calibration; None where a figure is undefined.
    """
    return measure(model, dataset, ranks, workers=workers, quiet=quiet).compute()


def detailed(metrics: BinaryMetrics, scores: ScoreCounts) -> dict[str, Any]:
    """The figures of `evaluate` and how far to trust them; every rank must call it.

    Args:
        metrics: of the rows.
        scores: the same rows by score, of `BinaryMetrics.scores`.

    Returns:
        Also auc_interval and log_loss_interval (95 %, None where undefined), and the table
        ``reliability`` of `ScoreCounts.reliability`.
    """
    return metrics.compute() | {
        "auc_interval": auc_interval(scores.negatives, scores.positives),
        "log_loss_interval": metrics.log_loss_interval(),
        "reliability": scores.reliability(),
    }


class OpenedSplit(NamedTuple):
    """What an evaluation needs, on one rank."""

    ranks: Ranks
    loaded: LoadedRun
    dataset: CriteoDataset


@contextmanager
def opened_split(
    run: Path | str, split: str, data: Path | str | None = None
) -> Iterator[OpenedSplit]:
    """Load a run's best weights and open a split; under torchrun join the other ranks.

    Raises:
        UsageError: there is no such split.
        RunError: the folder is not a run, or has no sound best checkpoint.
        DataSetError: the data set is missing, incomplete, of another fit, or the split is empty.
    """
    if split not in SPLITS:
        raise UsageError(f"--split {split} is not known: use {', '.join(SPLITS)}")
    with process_group() as ranks:
        with ranks.all_or_none():
            loaded = load_run(run, data)
            if not loaded.manifest.rows[split]:
                raise DataSetError(
                    f"the {split} split of {loaded.data} is empty: choose another --split"
                )
        loaded.model.to(ranks.device)
        dataset = CriteoDataset(
            loaded.data,
            split,
            EVALUATION_BATCH,
            lanes=max(LANES, ranks.world_size),
            rank=ranks.rank,
            world_size=ranks.world_size,
            shuffle=False,
        )
        yield OpenedSplit(ranks, loaded, dataset)


def evaluate_run(
    run: Path | str,
    split: str = "test",
    *,
    data: Path | str | None = None,
    workers: int = 1,
    plots: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate a run's best weights; under torchrun the ranks share the rows.

    Args:
        run: folder of the run.
        split: train, valid or test.
        data: a data set with the same fit; default the one that the run was trained on.
        workers: loader threads a rank.
        plots: draw reliability and ROC curve into ``RUN/plots``.
        quiet: show no progress.

    Returns:
        The figures of `detailed`, the same on every rank.

    Raises:
        CriteoStreamError: as `opened_split`.
    """
    with opened_split(run, split, data) as (ranks, loaded, dataset):
        metrics = measure(loaded.model, dataset, ranks, workers=workers, quiet=quiet)
        scores = metrics.scores()
        if plots and ranks.is_writer:
            plot_scores(scores, split, RunFolder(run).plots)
        return detailed(metrics, scores)
