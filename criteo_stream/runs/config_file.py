"""``config.toml``: what a run was begun with; also what another one can be begun with."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from criteo_stream.base.errors import UsageError
from criteo_stream.base.records import Fingerprint, RecordError, from_plain
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.toml import read_toml
from criteo_stream.runs.config import ResolvedConfig

_Text = Annotated[str, Meta(pattern=r"^[^\x00]+\Z")]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run was begun with."""

    config: ResolvedConfig
    data: str
    """Path of the data set."""
    fingerprint: str
    """Fingerprint of the data set's content."""
    fit_fingerprint: str
    """Fingerprint of its vocabularies and quantiles."""
    lineage: list[str]
    """Fingerprints of all fits that it extends, the oldest first, itself last."""
    categories: list[int]
    """Size of the id space of C1..C26; empty in runs of versions that did not record it."""
    package_version: str
    from_run: str | None
    """Path of the run that its first weights are from."""


@dataclass(frozen=True, kw_only=True)
class _Data:
    path: _Text
    fingerprint: Fingerprint
    fit_fingerprint: Fingerprint
    lineage: list[Fingerprint] = field(default_factory=list)
    categories: list[Annotated[int, Meta(ge=FIRST_KNOWN_ID, lt=2**31)]] = field(
        default_factory=list
    )


@dataclass(frozen=True, kw_only=True)
class _Package:
    version: str


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """The tables that another run can begin with."""

    train: dict[str, object]
    start: dict[Literal["from"], _Text] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Tables(_Begun):
    """All tables of a run's file."""

    package: _Package
    data: _Data


def read_record(path: Path) -> RunRecord:
    """Read the file of a run.

    Raises:
        UsageError, RecordError, TypeError: it is damaged or edited.
    """
    tables = from_plain(read_toml(path), _Tables)
    return RunRecord(
        config=ResolvedConfig.from_dict(tables.train, str(path)),
        data=tables.data.path,
        fingerprint=tables.data.fingerprint,
        fit_fingerprint=tables.data.fit_fingerprint,
        lineage=[*(tables.data.lineage or [tables.data.fit_fingerprint])],
        categories=[*tables.data.categories],
        package_version=tables.package.version,
        from_run=tables.start.get("from"),
    )


def run_of(path: Path) -> Path | None:
    """The run that a file is the ``config.toml`` of; None for a file of the user's own."""
    return path.parent if (path.parent / "checkpoints").is_dir() else None


class ReadConfig(NamedTuple):
    """Options to begin another run with."""

    options: dict[str, object]
    """By name, as the file has them."""
    from_run: Path | None
    """The run that the first weights are from."""


def read_config(path: Path) -> ReadConfig:
    """Read the options of a run's file, or of one that a user wrote.

    Raises:
        UsageError: it is missing, not TOML, or has no [train] table.
    """
    raw = read_toml(path)
    if "train" not in raw:
        raise UsageError(f"{path} has no [train] table: give the config.toml of a run")
    try:
        tables = from_plain(raw, _Begun)
    except RecordError as error:
        raise UsageError(f"{path}: {error}") from None
    start = tables.start.get("from")
    return ReadConfig(tables.train, Path(start) if start else None)
