"""The manifest of a prepared data set: what it holds, from what it was made, how to check it.

``manifest.json`` is written last and atomically: a folder without one is not a data set.
Training learns everything it needs (shards, table sizes, means) from here.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.schema import FORMAT_VERSION, SPLITS
from criteo_stream.base.storage import file_crc32, utf8_path, write_json
from criteo_stream.data.folder import DataFolder


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the set: its path below the set's folder, and what its content must be."""

    path: str
    bytes: int
    crc32: str


@dataclass(frozen=True, kw_only=True)
class ShardEntry(FileEntry):
    """A Parquet shard of one split."""

    rows: int
    positives: int


@dataclass(frozen=True, kw_only=True)
class InputEntry:
    """A raw input as the fit read it."""

    path: str
    name: str
    """Base name without compression suffix: what the split is a function of."""
    bytes: int
    mtime_ns: int
    crc32: str
    """CRC-32 over the decompressed content."""
    rows: int
    """Lines read, malformed ones included."""


@dataclass(frozen=True, kw_only=True)
class NumericColumn:
    """An integer column as the fit found it in the training split."""

    column: str
    missing: int
    """Rows without a value."""
    distinct: int
    minimum: int | None
    maximum: int | None
    mean: float | None
    mean_quantile: float
    """The transform of the mean, in [0, 1]: what a missing value is imputed with."""
    rank_error: float
    """Largest error of a quantile, as a share of the rows; 0 where the table is exact."""


@dataclass(frozen=True, kw_only=True)
class CategoricalColumn:
    """A categorical column as the fit found it in the training split."""

    column: str
    missing: int
    """Rows without a value."""
    distinct: int
    """Distinct values, rare ones included."""
    oov: int
    """Rows whose value is too rare for an id of its own."""
    ids: int
    """Size of the id space: OOV, missing and the known values; ids are below it."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a prepared data set but the rows."""

    package_version: str
    layout: str
    options: dict[str, object]
    """The options that decide the output, as given to the fit and the encoding."""
    inputs: list[InputEntry]
    rows: dict[str, int]
    """Row conservation: train + valid + test + rejected = read."""
    row_group_rows: int
    """Rows of every row group but a shard's last."""
    min_count: int
    """Values rarer than this in the training split have no id of their own."""
    numeric: list[NumericColumn]
    categorical: list[CategoricalColumn]
    fit_files: list[FileEntry]
    """Vocabularies and quantiles."""
    fit_fingerprint: str
    """Equal for two sets whose ids and quantiles mean the same."""
    shards: dict[str, list[ShardEntry]]
    """Per split, in order."""
    times: dict[str, object] = field(default_factory=dict)
    """When and how fast it was made: the only part that differs between equal runs."""
    format: int = FORMAT_VERSION

    @property
    def fingerprint(self) -> str:
        """Identity of the content (16 hex digits), wherever and whenever the set was made."""
        content = {
            "fit": self.fit_fingerprint,
            "shards": {s: [asdict(e) for e in self.shards[s]] for s in SPLITS},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def categories(self) -> list[int]:
        """Size of the id space of C1..C26."""
        return [c.ids for c in self.categorical]

    def write(self, folder: Path) -> None:
        """Make ``folder`` a complete data set."""
        content = asdict(self)
        write_json(DataFolder(folder).manifest, {**content, "checksum": _checksum(content)})

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read and check the manifest of a data set.

        Raises:
            DataSetError: there is none (the set is not complete), it is not of this format
                version, or it is damaged or edited.
            UsageError: the folder's path is not UTF-8.
        """
        path = DataFolder(utf8_path(folder)).manifest
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataSetError(
                f"{folder} is not a complete data set (no {path.name}): run the same "
                "`criteo-stream preprocess` command again to finish it, or check the path"
            ) from None
        except (NotADirectoryError, IsADirectoryError):
            raise DataSetError(f"{folder} is not a folder that holds a data set") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataSetError(f"{path} is damaged ({error}): prepare the set again") from None
        found = raw.get("format") if isinstance(raw, dict) else None
        if found != FORMAT_VERSION:
            raise DataSetError(
                f"{path} has format version {found}, this package reads version {FORMAT_VERSION}: "
                "prepare the set again, or use the package version that made it "
                f"({raw.get('package_version', 'unknown') if isinstance(raw, dict) else 'unknown'})"
            )
        if raw.pop("checksum", None) != _checksum(raw):
            raise DataSetError(
                f"{path} is damaged or edited, its checksum differs: "
                "restore it or prepare the set again"
            )
        try:
            manifest = cls._from_dict(raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataSetError(f"{path} is damaged ({error!r}): prepare the set again") from None
        manifest._check_paths(path)
        return manifest

    @classmethod
    def _from_dict(cls, raw: Mapping[str, Any]) -> "Manifest":
        return cls(
            **{
                **raw,
                "inputs": [InputEntry(**e) for e in raw["inputs"]],
                "numeric": [NumericColumn(**e) for e in raw["numeric"]],
                "categorical": [CategoricalColumn(**e) for e in raw["categorical"]],
                "fit_files": [FileEntry(**e) for e in raw["fit_files"]],
                "shards": {s: [ShardEntry(**e) for e in raw["shards"][s]] for s in SPLITS},
            }
        )

    def files(self) -> list[FileEntry]:
        """Every file that the manifest answers for."""
        return [*self.fit_files, *(e for s in SPLITS for e in self.shards[s])]

    def _check_paths(self, manifest_path: Path) -> None:
        """Refuse a crafted manifest that points outside its folder."""
        for entry in self.files():
            pure = PurePosixPath(entry.path)
            if pure.is_absolute() or ".." in pure.parts:
                raise DataSetError(
                    f"{manifest_path} names a file outside its folder ({entry.path}): "
                    "do not use a set from a source that you do not trust"
                )


def _checksum(content: dict[str, object]) -> str:
    """Checksum of all that decides what the set means: table sizes, means, shards, but no times."""
    decisive = {name: value for name, value in content.items() if name != "times"}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def verify_file(folder: Path, entry: FileEntry) -> None:
    """Compare a file with its manifest entry: presence, size, CRC-32.

    Raises:
        DataSetError: names the file and what differs.
    """
    path = folder / entry.path
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DataSetError(f"{path} is missing: restore it or prepare the set again") from None
    if size != entry.bytes:
        raise DataSetError(
            f"{path} is damaged: {size:,} bytes where the manifest has {entry.bytes:,}: "
            "restore it or prepare the set again"
        )
    found = file_crc32(path)
    if found != entry.crc32:
        raise DataSetError(
            f"{path} is damaged: checksum {found} where the manifest has {entry.crc32}: "
            "restore it or prepare the set again"
        )
