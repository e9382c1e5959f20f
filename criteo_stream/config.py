"""The options of training: what decides a run, read and written as TOML, and what does not."""

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from criteo_stream.errors import UsageError

MONITORS: Final = {"auc": "max", "log_loss": "min"}
"""Figures of the valid split that can choose the best checkpoint, and their direction."""

NUMERIC_MODES: Final = ("value", "bins", "both")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The options of a training run; together with the data set they decide its weights."""

    model: str = "fm"
    """The model's name."""
    embedding_dim: int = 16
    """Length k of the vectors."""
    numeric: str = "both"
    """How a quantile feeds the model: ``value`` (x·v), ``bins`` (an id) or ``both``."""
    bins: int = 32
    """Bins of a numeric column, for ``bins`` and ``both``."""
    init_scale: float = 0.01
    """Standard deviation of the vectors at the start."""
    epochs: int = 1
    """Passes over the training split."""
    batch_size: int = 2048
    """Rows of a global batch, over all ranks together."""
    learning_rate: float = 0.005
    """Peak rate, after warm-up."""
    warmup: float = 0.02
    """Fraction of all steps over which the rate rises from zero; then it falls to zero."""
    l2_linear: float = 0.0
    """L2 coefficient of the linear weights of looked-up rows."""
    l2_embedding: float = 0.0
    """L2 coefficient of the vectors of looked-up rows."""
    seed: int = 0
    """Of the initial weights and the order of rows."""
    lanes: int = 16
    """Sequences of row groups that a batch draws from; at least the number of ranks."""
    evaluate_every: int = 0
    """Rows between evaluations on the valid split; 0 is once an epoch."""
    monitor: str = "auc"
    """Figure that chooses the best checkpoint: ``auc`` or ``log_loss``."""
    patience: int = 0
    """Evaluations without a better figure before training stops; 0 never stops early."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, naming the flag."""
        for name, value in self.to_dict().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{_flag(name)} is {value}, expected a finite number")
        self._at_least(1, "embedding_dim", "bins", "epochs", "batch_size", "lanes")
        self._at_least(
            0, "init_scale", "learning_rate", "l2_linear", "l2_embedding", "evaluate_every",
            "patience", "seed",
        )  # fmt: skip
        if self.numeric not in NUMERIC_MODES:
            raise UsageError(f"--numeric {self.numeric} is not known: {_one_of(NUMERIC_MODES)}")
        if self.monitor not in MONITORS:
            raise UsageError(f"--monitor {self.monitor} is not known: {_one_of(MONITORS)}")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"--warmup is {self.warmup}, expected a fraction from 0 to below 1")

    def _at_least(self, least: int, *names: str) -> None:
        for name in names:
            if getattr(self, name) < least:
                raise UsageError(
                    f"{_flag(name)} is {getattr(self, name)}, expected at least {least}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from plain values.

        Raises:
            UsageError: an unknown name (the nearest one is suggested) or a wrong type.
        """
        known = {f.name: f.type for f in fields(cls)}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f": did you mean {near[0]}?" if near else ""
                raise UsageError(f"{where}: unknown option {name}{hint}")
            wanted = known[name]
            assert isinstance(wanted, type)
            if not (type(value) is wanted or (wanted is float and type(value) is int)):
                raise UsageError(
                    f"{where}: {name} is {value!r}, expected "
                    f"{'a number' if wanted in (int, float) else 'text'}"
                )
        typed: dict[str, Any] = {n: float(v) if known[n] is float else v for n, v in values.items()}
        return cls(**typed)


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """How training is done; but for ``from_run`` the weights do not depend on it."""

    workers: int = 1
    """Loader threads a rank; 0 loads inline."""
    checkpoint_every: int = 0
    """Training rows between checkpoints; 0 goes by the other two occasions only."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints; 0 goes by rows and evaluations only."""
    keep: int = 2
    """Latest checkpoints kept, beside the best."""
    threads: int | None = None
    """Compute threads a rank; None shares the cores out among the ranks."""
    from_run: Path | None = None
    """Start from the best weights of this run."""
    quiet: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense, naming the flag."""
        for name, least in (
            ("workers", 0), ("checkpoint_every", 0), ("checkpoint_minutes", 0), ("keep", 1),
            ("threads", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UsageError(f"{_flag(name)} is {value}, expected at least {least}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _one_of(names: Any) -> str:
    return f"use {', '.join(names)}"


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of plain values as TOML; a JSON string is a valid TOML string."""
    lines = []
    for table, values in tables.items():
        lines.append(f"[{table}]")
        for name, value in values.items():
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
        lines.append("")
    return "\n".join(lines)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no such configuration file: {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
