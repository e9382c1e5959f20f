"""A model's figures on a split: exact over all rows and all ranks."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from criteo_stream.dataset import CriteoDataset
from criteo_stream.distributed import Ranks, process_group
from criteo_stream.errors import DataSetError, UsageError
from criteo_stream.loader import CriteoLoader
from criteo_stream.loading import load_run
from criteo_stream.metrics import BinaryMetrics
from criteo_stream.order import LANES
from criteo_stream.progress import Progress
from criteo_stream.schema import SPLITS

EVALUATION_BATCH: Final = 65536
"""Rows of an evaluation batch, over all ranks."""


@torch.no_grad()
def evaluate(
    model: nn.Module, dataset: CriteoDataset, ranks: Ranks, *, workers: int = 1, quiet: bool = False
) -> dict[str, Any]:
    """Score this rank's share of a split; figures over all ranks.

    Returns:
        rows, positives, auc, log_loss, ne, calibration; None where a figure is undefined.
    """
    metrics = BinaryMetrics().to(ranks.device)
    training = model.training
    model.eval()
    name = f"evaluate {dataset.split}"
    loader = CriteoLoader(dataset, workers=workers, pin_memory=ranks.device.type == "cuda")
    with Progress(name, dataset.rows, quiet=quiet or not ranks.is_writer) as bar:
        for (numeric, categorical), label in loader:
            logits = model(
                numeric.to(ranks.device, non_blocking=True),
                categorical.to(ranks.device, non_blocking=True),
            )
            metrics.update(logits, label.to(ranks.device, non_blocking=True))
            bar.advance(len(label))
    model.train(training)
    return metrics.compute()


def evaluate_run(
    run: Path | str,
    split: str = "test",
    *,
    data: Path | str | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate a run's best weights; under torchrun the ranks share the rows.

    Returns:
        The figures of `evaluate`, the same on every rank.

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
        dataset = CriteoDataset(
            loaded.data,
            split,
            EVALUATION_BATCH,
            lanes=max(LANES, ranks.world_size),
            rank=ranks.rank,
            world_size=ranks.world_size,
            shuffle=False,
        )
        model = loaded.model.to(ranks.device)
        return evaluate(model, dataset, ranks, workers=workers, quiet=quiet)
