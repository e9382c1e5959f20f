"""The names of the files in a prepared data set's folder, ``DATA/``."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MANIFEST_NAME: Final = "manifest.json"


@dataclass(frozen=True)
class DataFolder:
    """Where everything of a prepared data set is, whether it exists yet or not."""

    path: Path

    @property
    def manifest(self) -> Path:
        """Written last: the set is complete where it exists."""
        return self.path / MANIFEST_NAME

    @property
    def vocabularies(self) -> Path:
        """The folder of `vocabulary`."""
        return self.path / "vocabulary"

    def vocabulary(self, column: str) -> Path:
        """The known values of a categorical column and their ids."""
        return self.vocabularies / f"{column}.parquet"

    @property
    def all_counts(self) -> Path:
        """The folder of `counts`."""
        return self.path / "counts"

    def counts(self, column: str) -> Path:
        """The values of a categorical column that have no id, and how often each was seen."""
        return self.all_counts / f"{column}.parquet"

    @property
    def quantiles(self) -> Path:
        """The quantile tables of all integer columns."""
        return self.path / "quantiles.parquet"

    def split(self, split: str) -> Path:
        """The folder of a split's shards."""
        return self.path / split

    def shard(self, split: str, number: int) -> Path:
        """The shard of block ``number``, which holds the block's rows of one split."""
        return self.split(split) / f"part-{number:05d}.parquet"

    @staticmethod
    def is_shard(path: str, split: str) -> bool:
        """Whether a path below the folder is one that `shard` makes for a split."""
        return re.fullmatch(rf"{split}/part-\d{{5,9}}\.parquet", path, re.ASCII) is not None

    @property
    def rejected(self) -> Path:
        """Malformed lines, one JSON object per line; absent where there were none."""
        return self.path / "rejected.jsonl"

    @property
    def work(self) -> Path:
        """Scratch and records of an unfinished preparation."""
        return self.path / ".work"

    @property
    def why_none(self) -> str:
        """What is there instead of a complete data set, and what to do."""
        if not self.path.exists():
            return f"{self.path} does not exist: check the path of the data set"
        if not self.path.is_dir():
            return (
                f"{self.path} is a file, and a data set is a folder: turn a raw log into one with "
                f"`criteo-stream preprocess {shlex.quote(str(self.path))} --out DATA`"
            )
        if self.work.is_dir():
            return (
                f"{self.path} is not a complete data set (no {MANIFEST_NAME}): run the same "
                "`criteo-stream preprocess` command again to finish it"
            )
        return (
            f"{self.path} is not a complete data set (no {MANIFEST_NAME}): give the folder that "
            "`criteo-stream preprocess RAW --out DATA` wrote"
        )
