"""Thinned training splits: the share of negatives kept, and what follows for a model's logits.

With a share r of the negatives kept, the odds of a click among the rows kept are 1/r times those
among all rows. A model's logits are those of all rows, in training too, so that every probability
given out is one of all rows. Only where logits meet the labels of thinned rows is −log r added.
What a model that is not exactly right is off by, the valid split sets right: `metrics.intercept`.
"""

import math

from criteo_stream.data.manifest import Manifest


def training_positives(manifest: Manifest) -> int:
    """Positive rows of the training split."""
    return sum(shard.positives for shard in manifest.shards["train"])


def negatives_kept(manifest: Manifest) -> float:
    """Share of the training split's negatives that it still has: as counted, not as asked for."""
    if not manifest.thinned:
        return 1.0
    kept = manifest.rows["train"] - training_positives(manifest)
    return kept / (kept + manifest.thinned)


def click_rate(manifest: Manifest) -> float:
    """Share of positives among all rows of the training split, those left out included."""
    return training_positives(manifest) / max(1, manifest.rows["train"] + manifest.thinned)


def logit_shift(manifest: Manifest, split: str) -> float:
    """What to add to logits where they meet the labels of a split; 0 of a whole one."""
    if split != "train" or not manifest.thinned:
        return 0.0
    kept = negatives_kept(manifest)
    return -math.log(kept) if kept else math.inf
