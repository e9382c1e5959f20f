"""Rows counted by score: exactly as long as they are few, in bins of the logit beyond."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from criteo_stream.base.ranks import ALONE, Ranks
from criteo_stream.metrics.scores import ScoreCounts

EXACT_ROWS: Final = 1_000_000
"""Rows, over all ranks, up to which every distinct logit is kept: 8 MB."""
SCORE_BINS: Final = 1 << 20
"""Bins of the logit beyond; rows in one bin count as ties, and the AUC is off by less than 1e-6."""


class ScoreCounter:
    """Negatives and positives by logit, over any number of batches and ranks.

    Logits count by their sort key (the bits of the float32, made monotone). Up to `EXACT_ROWS` the
    rows are kept, and all that follows from their order is exact. Beyond, they are counted in
    2^20 bins of the key, which have 11 bits of mantissa at every magnitude. Which of the two it is
    depends on the rows of all ranks together, and both are integers: any batches and any ranks
    give the same counts.

    Args:
        ranks: those that share the rows.
        exact_rows: rows, over all ranks, up to which counts are exact.
    """

    def __init__(self, ranks: Ranks = ALONE, exact_rows: int = EXACT_ROWS) -> None:
        self._ranks = ranks
        self._exact_rows = exact_rows
        self._rows = 0
        self._kept: list[Tensor] = []
        """int64 [B] each: twice the sort key, plus the label."""
        self._counts: Tensor | None = None
        """int64 [2 · bins], negatives and then positives, once this rank has too many rows."""

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in float32 logits [B] and labels [B] of 0 or 1."""
        self._kept.append(2 * sort_keys(logits.detach()) + (labels > 0.5))
        self._rows += len(logits)
        if self._rows > self._exact_rows:
            self._counts = self._binned()
            self._kept.clear()

    def scores(self) -> ScoreCounts:
        """The rows of all ranks by their score; every rank must call it."""
        rows = sum(int(n) for (n,) in self._ranks.gather([self._rows]))
        if rows <= self._exact_rows:
            none = torch.empty(0, dtype=torch.int64, device=self._ranks.device)
            mine = torch.cat([none, *self._kept])
            packed = torch.cat(self._ranks.gather_tensors(mine)).cpu().numpy()
            keys, place = np.unique(packed >> 1, return_inverse=True)
            positives = np.bincount(place[packed & 1 == 1], minlength=len(keys))
            negatives = np.bincount(place, minlength=len(keys)) - positives
            logits = key_logits(torch.from_numpy(keys))
        else:
            counts = self._ranks.sum(self._binned()).view(2, SCORE_BINS).cpu()
            bins = counts.sum(0).nonzero().squeeze(1)
            negatives, positives = counts[:, bins].numpy()
            logits = bin_logits(bins)
        return ScoreCounts(
            logits=logits.double().numpy(),
            negatives=negatives,
            positives=positives,
            binned=rows > self._exact_rows,
        )

    def _binned(self) -> Tensor:
        """int64 [2 · bins]: this rank's rows; the state itself, where it is counts already."""
        counts = self._counts
        if counts is None:
            counts = torch.zeros(2 * SCORE_BINS, dtype=torch.int64, device=self._ranks.device)
        for packed in self._kept:
            places = (packed >> 13) + (packed & 1) * SCORE_BINS
            counts.index_add_(0, places, torch.ones_like(places))
        return counts


def in_bins(scores: ScoreCounts) -> ScoreCounts:
    """The same rows in bins of the logit, for curves.

    Ranks score in batches of their own, and a logit's last bit may go by its place in the batch:
    means over bins are the same on any number of ranks all the same.
    """
    if scores.binned:
        return scores
    bins, place = np.unique(
        logit_bins(torch.from_numpy(scores.logits)).numpy(), return_inverse=True
    )
    negatives, positives = np.zeros((2, len(bins)), np.int64)
    np.add.at(negatives, place, scores.negatives)
    np.add.at(positives, place, scores.positives)
    return ScoreCounts(
        logits=bin_logits(torch.from_numpy(bins)).double().numpy(),
        negatives=negatives,
        positives=positives,
        binned=True,
    )


def sort_keys(logits: Tensor) -> Tensor:
    """int64 [B] from 0 to 2^32: ascending with the float32 logit; 0.0 and −0.0 share one."""
    bits = logits.float().view(torch.int32).long()
    # Positive floats ascend with their bits, negative ones descend; both zeros become 0.
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits) + (1 << 31)


def key_logits(keys: Tensor) -> Tensor:
    """float32 [n]: the logits of sort keys; keys beyond that of inf are inf."""
    key = keys - (1 << 31)
    magnitude = key.abs().clamp(max=0x7F800000).int().view(torch.float32)
    return torch.where(key < 0, -magnitude, magnitude)


def logit_bins(logits: Tensor) -> Tensor:
    """int64 [B]: the bin of each logit, ascending with it."""
    return sort_keys(logits) >> 12  # 32 bits to the 20 of SCORE_BINS


def bin_logits(bins: Tensor) -> Tensor:
    """float32 [n]: the logit in the middle of each bin; inf for the bin of inf alone."""
    return key_logits((bins << 12) + (1 << 11))


def nearest_scores(logits: Tensor, scores: ScoreCounts) -> Tensor:
    """int64 [B]: where the logits [B] of counted rows are among the counts.

    A GPU may give a row another last bit the second time: it then counts with its neighbour.
    """
    if scores.binned:
        logits = bin_logits(logit_bins(logits))
    table = torch.from_numpy(scores.logits).to(logits.device)
    return torch.searchsorted(table, logits.double()).clamp_(max=len(table) - 1)
