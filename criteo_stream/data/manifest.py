"""The manifest of a prepared data set: what it holds, from what it was made, how to check it.

``manifest.json`` is written last and atomically: a folder without one is not a data set.
Training learns everything it needs (shards, table sizes, means) from here.
"""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.records import (
    Count,
    Crc32,
    Fingerprint,
    Number,
    Positive,
    RecordError,
    Share,
    Whole,
    from_plain,
    parse_json,
    require,
    sealed,
    unsealed,
)
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import (
    CATEGORICAL_COLUMNS,
    FEATURE_COLUMNS,
    FORMAT_VERSION,
    INTEGER_COLUMNS,
    SPLITS,
)
from criteo_stream.base.storage import difference, read_bytes, utf8_path, write_json
from criteo_stream.data.extension import Extension
from criteo_stream.data.fit_fingerprint import fingerprint_of_fit
from criteo_stream.data.folder import DataFolder

_COUNTED = (*SPLITS, "rejected", "read")
_THINNED = "thinned"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the set: its path below the set's folder, and what its content must be."""

    path: str
    bytes: Count
    crc32: Crc32


@dataclass(frozen=True, kw_only=True)
class ShardEntry(FileEntry):
    """A Parquet shard of one split."""

    rows: Count
    positives: Count

    def __post_init__(self) -> None:
        require(self.positives <= self.rows, f"{self.path} has more positives than rows")


@dataclass(frozen=True, kw_only=True)
class InputEntry:
    """A raw input as the fit read it."""

    path: str
    name: str
    """Base name without compression suffix: what the split is a function of."""
    bytes: Count
    mtime_ns: Whole
    crc32: Crc32
    """CRC-32 over the decompressed content."""
    rows: Count
    """Lines read, malformed ones included."""


@dataclass(frozen=True, kw_only=True)
class NumericColumn:
    """An integer column as the fit found it in the training split."""

    column: str
    missing: Count
    """Rows without a value."""
    distinct: Count
    minimum: Whole | None
    maximum: Whole | None
    mean: Number | None
    mean_quantile: Share
    """The transform of the mean, in [0, 1]: what a missing value is imputed with."""
    rank_error: Share
    """Largest error of a quantile, as a share of the rows; 0 where the table is exact."""


@dataclass(frozen=True, kw_only=True)
class CategoricalColumn:
    """A categorical column as the fit found it in the training split."""

    column: str
    missing: Count
    """Rows without a value."""
    distinct: Count
    """Distinct values, rare ones included."""
    oov: Count
    """Rows whose value is too rare for an id of its own."""
    ids: Annotated[int, Meta(ge=FIRST_KNOWN_ID, lt=2**31)]
    """Size of the id space: OOV, missing and the known values; ids are below it."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a prepared data set but the rows."""

    package_version: str
    layout: str
    options: dict[str, object]
    """The options that decide the output, as given to the fit and the encoding."""
    inputs: list[InputEntry]
    rows: dict[str, Count]
    """Row conservation: train + valid + test + rejected + thinned = read; the key ``thinned`` is
    there only where negative rows were left out of the training split."""
    row_group_rows: Positive
    """Rows of every row group but a shard's last."""
    min_count: Count
    """Values rarer than this in the training split have no id of their own."""
    numeric: list[NumericColumn]
    categorical: list[CategoricalColumn]
    fit_files: list[FileEntry]
    """Vocabularies and quantiles."""
    count_files: list[FileEntry] = field(default_factory=list)
    """Counts of values without an id, to extend the fit with; none where they were not kept."""
    fit_fingerprint: Fingerprint
    """Equal for two sets whose ids and quantiles mean the same, see `fit_fingerprint`."""
    fit_digests: dict[str, Fingerprint] = field(default_factory=dict)
    """Per column, what the fingerprint is made of; none in sets of before, nor with their fit."""
    shards: dict[str, list[ShardEntry]]
    """Per split, in order."""
    extension: Extension | None = None
    """Of a set that extends another."""
    rejected: FileEntry | None = None
    """The list of malformed lines; None where there were none, and in older sets."""
    times: dict[str, object] = field(default_factory=dict)
    """When and how fast it was made: the only part that differs between equal runs."""
    format: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Refuse what cannot be true of a set, whatever the checksums say."""
        counted = set(self.rows) - {_THINNED}
        require(counted == set(_COUNTED), f"rows: expected {', '.join(_COUNTED)}")
        require(self.rows.get(_THINNED, 1) > 0, "rows: thinned is 0")
        require(set(self.shards) == set(SPLITS), f"shards: expected {', '.join(SPLITS)}")
        accounted = sum(count for name, count in self.rows.items() if name != "read")
        require(accounted == self.rows["read"], "rows: they do not add up to the lines read")
        lines = sum(entry.rows for entry in self.inputs)
        require(lines == self.rows["read"], "inputs: their rows are not the lines read")
        for split, entries in self.shards.items():
            found = sum(entry.rows for entry in entries)
            require(found == self.rows[split], f"shards.{split}: {found:,} rows in all")
        require(tuple(c.column for c in self.numeric) == INTEGER_COLUMNS, "numeric: not I1 to I13")
        names = tuple(c.column for c in self.categorical)
        require(names == CATEGORICAL_COLUMNS, "categorical: not C1 to C26")
        if self.extension:
            grows = zip(self.categories, self.extension.ids_before, strict=True)
            require(all(now >= before for now, before in grows), "ids_before: more than now")
        if self.fit_digests:
            require(set(self.fit_digests) == set(FEATURE_COLUMNS), "fit_digests: not our columns")
            found_fit = fingerprint_of_fit(self.min_count, self.fit_digests)
            require(found_fit == self.fit_fingerprint, "fit_fingerprint: not of the fit_digests")
        data = DataFolder(Path())
        fit = {str(path) for path in (data.quantiles, *map(data.vocabulary, CATEGORICAL_COLUMNS))}
        require({entry.path for entry in self.fit_files} in (fit, set()), "fit_files: not ours")
        counts = {str(data.counts(column)) for column in CATEGORICAL_COLUMNS}
        require({entry.path for entry in self.count_files} in (counts, set()), "count_files")
        for split, entries in self.shards.items():
            for entry in entries:
                require(data.is_shard(entry.path, split), f"{entry.path} is no shard of {split}")
        if self.rejected is not None:
            require(self.rejected.path == str(data.rejected), "rejected: not rejected.jsonl")
        paths = Counter(entry.path for entry in self.files())
        twice = [path for path, times in paths.items() if times > 1]
        require(not twice, f"listed twice: {', '.join(twice)}")

    @property
    def fingerprint(self) -> str:
        """Identity of the content (16 hex digits), wherever and whenever the set was made."""
        content: dict[str, object] = {
            "fit": self.fit_fingerprint,
            "shards": {s: [asdict(e) for e in self.shards[s]] for s in SPLITS},
        }
        if self.thinned:  # a model's weights go by it
            content[_THINNED] = self.thinned
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def thinned(self) -> int:
        """Negative rows that were left out of the training split."""
        return self.rows.get(_THINNED, 0)

    @property
    def categories(self) -> list[int]:
        """Size of the id space of C1..C26."""
        return [c.ids for c in self.categorical]

    @property
    def rows_counted(self) -> int:
        """Training rows that the facts of categorical columns are of."""
        return self.extension.rows if self.extension else self.rows["train"]

    @property
    def rows_ranked(self) -> int:
        """Training rows that the facts of integer columns are of."""
        return self.extension.first_rows if self.extension else self.rows["train"]

    @property
    def lineage(self) -> list[str]:
        """Fingerprints of all fits whose ids mean the same here, the oldest first, this one last.

        A model of one of them reads this set: ids that are beyond its tables are OOV to it.
        """
        before = self.extension.lineage if self.extension else []
        return [*before, self.fit_fingerprint]

    def write(self, folder: Path) -> None:
        """Make ``folder`` a complete data set."""
        content = asdict(self)
        times = content.pop("times")
        write_json(DataFolder(folder).manifest, {**sealed(content), "times": times})

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read and check the manifest of a data set.

        Raises:
            DataSetError: there is none (the set is not complete), it is not of this format
                version, or it is damaged, edited, or says what cannot be true.
            UsageError: the folder's path is not UTF-8.
        """
        path = DataFolder(utf8_path(folder)).manifest
        try:
            raw = parse_json(read_bytes(path))
        except (FileNotFoundError, NotADirectoryError):
            raise DataSetError(DataFolder(folder).why_none) from None
        except (RecordError, OSError) as error:
            raise DataSetError(f"{path} is damaged ({error}): prepare the set again") from None
        found = raw.get("format") if isinstance(raw, dict) else None
        if found != FORMAT_VERSION:
            version = raw.get("package_version", "unknown") if isinstance(raw, dict) else "unknown"
            raise DataSetError(
                f"{path} has format version {found}, this package reads version {FORMAT_VERSION}: "
                f"prepare the set again, or use the package version that made it ({version})"
            )
        times = raw.pop("times", {})
        try:
            return from_plain(unsealed(raw) | {"times": times}, cls)
        except RecordError as error:
            raise DataSetError(
                f"{path} is damaged or edited ({error}): restore it or prepare the set again"
            ) from None

    def files(self) -> list[FileEntry]:
        """Every file that the manifest answers for."""
        rejected = [self.rejected] if self.rejected else []
        fit = [*self.fit_files, *self.count_files]
        return [*fit, *rejected, *(e for s in SPLITS for e in self.shards[s])]


def verify_file(folder: Path, entry: FileEntry) -> None:
    """Compare a file with its manifest entry: presence, size, CRC-32.

    Raises:
        DataSetError: names the file and what differs.
    """
    path = folder / entry.path
    advice = "restore it or prepare the set again"
    try:
        differs = difference(path, entry.bytes, entry.crc32)
    except (FileNotFoundError, NotADirectoryError):
        raise DataSetError(f"{path} is missing: {advice}") from None
    if differs and not differs.expected:
        raise DataSetError(f"{path} is {differs.found}: {advice}")
    if differs:
        raise DataSetError(
            f"{path} is damaged: {differs.found} where the manifest has {differs.expected}: "
            f"{advice}"
        )
