"""What a thinned training split means for rates and logits."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from criteo_stream.base.schema import SPLITS
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.thinning import click_rate, logit_shift, negatives_kept
from tests.support.training import thinned_set, tiny_set


def test_of_a_whole_set_nothing_is_corrected(data: Path) -> None:
    manifest = Manifest.read(data)
    positives = sum(shard.positives for shard in manifest.shards["train"])
    assert click_rate(manifest) == positives / manifest.rows["train"]
    assert negatives_kept(manifest) == 1
    assert [logit_shift(manifest, split) for split in SPLITS] == [0, 0, 0]


def test_odds_among_the_rows_kept_are_those_of_all_rows_after_the_shift(tmp_path: Path) -> None:
    manifest = Manifest.read(thinned_set(tmp_path / "set", 1500))
    rows = manifest.rows["train"]
    positives = sum(shard.positives for shard in manifest.shards["train"])
    negatives = rows - positives
    assert click_rate(manifest) == positives / (rows + 1500)
    assert negatives_kept(manifest) == negatives / (negatives + 1500)
    rate = click_rate(manifest)
    shifted = math.log(rate / (1 - rate)) + logit_shift(manifest, "train")
    assert shifted == pytest.approx(math.log(positives / negatives))
    assert [logit_shift(manifest, split) for split in ("valid", "test")] == [0, 0]
    assert CriteoDataset(tmp_path / "set", "train").logit_shift == logit_shift(manifest, "train")
    assert CriteoDataset(tmp_path / "set", "test").logit_shift == 0


def test_a_split_without_a_negative_left_is_all_clicks(tmp_path: Path) -> None:
    manifest = Manifest.read(thinned_set(tmp_path / "set", 1500))
    clicks = [replace(shard, positives=shard.rows) for shard in manifest.shards["train"]]
    manifest = replace(manifest, shards=manifest.shards | {"train": clicks})
    assert negatives_kept(manifest) == 0
    assert logit_shift(manifest, "train") == math.inf


def test_an_empty_training_split_has_no_clicks(tmp_path: Path) -> None:
    manifest = Manifest.read(tiny_set(tmp_path / "set", train=()))
    assert click_rate(manifest) == 0
