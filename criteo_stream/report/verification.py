"""Everything that can be checked of a prepared data set without its raw logs."""

from pathlib import Path

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.schema import SPLITS
from criteo_stream.data.manifest import Manifest, ShardEntry, verify_file
from criteo_stream.data.shards import ShardReader, row_group_sizes
from criteo_stream.prepare.rare_counts import read_rare_counts
from criteo_stream.prepare.read_fit import (
    read_fit_vocabularies,
    verify_digests,
    verify_fit,
)


def verify_data_set(data: Path, manifest: Manifest) -> None:
    """Read every file of a data set: checksums, and whether each value can be one.

    Raises:
        DataSetError: names the first file that is missing, damaged or wrong.
    """
    verify_fit(data, manifest)
    for entry in manifest.files():
        if entry not in manifest.fit_files:
            verify_file(data, entry)
    read_fit_vocabularies(data, manifest)
    verify_digests(data, manifest)
    for entry in manifest.count_files:
        for _ in read_rare_counts(data / entry.path):
            pass
    for split in SPLITS:
        for shard in manifest.shards[split]:
            _verify_positives(data, manifest, shard)


def _verify_positives(data: Path, manifest: Manifest, shard: ShardEntry) -> None:
    """Read a shard, whose values are checked on the way, and count its clicks."""
    reader = ShardReader(data, [shard], manifest.row_group_rows, manifest.categories, None)
    groups = range(len(row_group_sizes([shard], manifest.row_group_rows)))
    positives = sum(int(reader.read(group).label.sum()) for group in groups)
    reader.close()
    if positives != shard.positives:
        raise DataSetError(
            f"{data / shard.path} has {positives:,} clicks where the manifest has "
            f"{shard.positives:,}: prepare the set again"
        )
