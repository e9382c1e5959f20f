"""Limits checked before a run starts: memory, disk, and labels of both kinds."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from criteo_stream.base.amounts import counted, format_size
from criteo_stream.base.errors import DataSetError, OutputError, RunError
from criteo_stream.base.memory import available_bytes
from criteo_stream.base.ranks import Ranks
from criteo_stream.base.schema import FEATURE_COLUMNS
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.resident import MOST_ROWS, ROW_BYTES
from criteo_stream.data.thinning import training_positives
from criteo_stream.models import build_model
from criteo_stream.runs.config import ResolvedConfig

_COPIES = 3
"""Copies of every parameter: itself and Adam's two moments."""
_SORTED_BYTES = 64
"""Of a look-up: its row and place, both sorted, room to sort them, and its share of sums."""
_VECTOR_COPIES = 6
"""Of a looked-up vector: in the forward pass, what is kept for the backward pass, and gradients."""


def refuse_what_does_not_fit(
    config: ResolvedConfig,
    manifest: Manifest,
    ranks: Ranks,
    checkpoints: Path,
    *,
    keep: int,
    resuming: bool,
) -> None:
    """Compare what a run needs with what there is.

    Args:
        config: the options that decide the model's size.
        manifest: the data set's, which has the sizes of the vocabularies.
        ranks: those on one machine share its memory.
        checkpoints: folder of the checkpoints; those in it may be dropped for new ones.
        keep: latest checkpoints kept; beside them come the best and the one being written.
        resuming: the run has its checkpoints already.

    Raises:
        RunError: the memory does not suffice.
        OutputError: the disk does not.
    """
    with torch.device("meta"):  # shapes without memory
        model = build_model(config, manifest)
    size = _parameter_bytes(model)
    tables = _COPIES * size + sum(b.numel() * b.element_size() for b in model.buffers())
    needed = tables
    if ranks.device.type == "cuda":
        needed += _batch_bytes(config, ranks)
    free = _free_memory(ranks)
    if free is not None and tables <= free < needed:
        raise RunError(
            f"the tables and their moments take {format_size(tables)}, a batch of "
            f"{counted(config.batch_size, 'row')} about {format_size(needed - tables)} more, and "
            f"{format_size(free)} of the GPU's memory are free: use a smaller --batch-size"
        )
    if free is not None and needed > free:
        raise RunError(
            f"the tables take {format_size(size)} and with Adam's moments {format_size(tables)} a "
            f"rank, {format_size(free)} of memory are available: prepare the data set with a "
            "larger --min-count or a --max-vocabulary, or train with a smaller --embedding-dim"
        )
    if ranks.is_writer and not resuming:
        refuse_full_disk(checkpoints, (keep + 2) * _COPIES * size, keep)


def _batch_bytes(config: ResolvedConfig, ranks: Ranks) -> int:
    """About what a batch takes on a GPU: its look-ups sorted, and for most models their vectors."""
    fields = len(FEATURE_COLUMNS)
    vectors = 0 if config.model in ("fm", "lr") else config.embedding_dim
    if config.model == "ffm":
        vectors *= fields
    lookup_bytes = _SORTED_BYTES + _VECTOR_COPIES * 4 * vectors
    return config.batch_size // ranks.world_size * fields * lookup_bytes


def _parameter_bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _free_memory(ranks: Ranks) -> int | None:
    """Bytes for this rank, where its tables will be."""
    if ranks.device.type == "cuda":
        return int(torch.cuda.mem_get_info(ranks.device)[0])
    free = available_bytes()
    return None if free is None else free // ranks.local_world_size


def where_rows_stay(
    cache: str, model: nn.Module, rows: int, config: ResolvedConfig, ranks: Ranks
) -> torch.device | None:
    """The device whose memory the training rows are kept in; None where they are read each time.

    Args:
        cache: a `CacheName`.
        model: on its device, its moments not yet made.
        rows: of the split, all of which every rank keeps.
        config: of the run.
        ranks: those on one machine share its memory.

    Raises:
        RunError: they do not fit.
    """
    if cache == "none" or (cache == "auto" and ranks.device.type == "cpu"):
        return None
    where = torch.device("cpu") if cache == "host" else ranks.device
    needed = rows * ROW_BYTES
    free = _free_memory(replace(ranks, device=where))
    if where == ranks.device and free is not None:
        free -= (_COPIES - 1) * _parameter_bytes(model)
        free -= _batch_bytes(config, ranks) if where.type == "cuda" else 0
    fits = rows <= MOST_ROWS and (free is None or needed <= free)
    if cache == "auto":
        return where if fits and (free is None or 2 * needed <= free) else None
    if not fits:
        raise RunError(
            f"--cache {cache}: the training rows take {format_size(needed)} a rank, "
            f"{format_size(max(0, free or 0))} of memory are left: use --cache none"
        )
    return where


def refuse_full_disk(checkpoints: Path, needed: int, keep: int) -> None:
    """Compare the bytes that checkpoints can take with the free space of their disk.

    Raises:
        OutputError: they do not fit.
    """
    free = free_disk(checkpoints.parent)
    if needed > free:
        raise OutputError(
            f"checkpoints in {checkpoints} can take {format_size(needed)} (--keep {keep}, the "
            f"best, and the one being written), {format_size(free)} of disk are free: free some, "
            "choose another --out, or train with a smaller --keep or --embedding-dim"
        )


def free_disk(folder: Path) -> int:
    """Free bytes of the disk that a folder is on."""
    return shutil.disk_usage(folder).free


def refuse_one_label(data: Path, manifest: Manifest) -> None:
    """Refuse a train split from which nothing can be learned.

    Raises:
        DataSetError: it is empty, or all of its labels are equal.
    """
    rows = manifest.rows["train"]
    positives = training_positives(manifest)
    if not rows:
        raise DataSetError(f"the train split of {data} is empty: there is nothing to train on")
    if positives in (0, rows):
        advice = "check the label column of the raw logs"
        if positives and manifest.thinned:
            advice = "prepare it with a larger --keep-negatives"
        raise DataSetError(
            f"all {rows:,} training labels of {data} are {int(positives > 0)}: "
            f"there is nothing to learn; {advice}"
        )
