"""The options of training: what decides a run, read and written as TOML, and what does not."""

import difflib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self, get_args

from criteo_stream.base.errors import UsageError

MONITORS: Final = {"auc": "max", "log_loss": "min"}
"""Figures of the valid split that can choose the best checkpoint, and their direction."""

NUMERIC_MODES: Final = ("value", "bins", "both")
BILINEAR_KINDS: Final = ("all", "each", "interaction")
PAIR_KINDS: Final = ("inner", "hadamard")

_BATCH_SIZES: Final = (512, 8192)
"""Smallest and largest batch that is chosen by the number of training rows."""


@dataclass(frozen=True)
class _ModelDefaults:
    """What goes by the model."""

    embedding_dim: int = 16
    init_scale: float = 0.01
    epsilon: float = 1e-4
    l2_total: float = 300
    """L2 coefficient of the vectors times the number of training rows."""


_DEFAULTS: Final = _ModelDefaults()
_DEFAULTS_OF: Final = {
    # As many vectors an id as there are fields, each in one pair only: their gradients are small.
    "ffm": _ModelDefaults(embedding_dim=4, init_scale=0.03, epsilon=1e-5, l2_total=100),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The options of a training run; together with the data set they decide its weights.

    Those that may be None then go by the model and the number of training rows: see `resolved`.
    ``docs/models.md`` says which models there are and which options they have.
    """

    model: str = "fm"
    """The model's name, or the import path of one of your own: ``package.module:Class``."""
    embedding_dim: int | None = None
    """Length k of the vectors; None goes by the model."""
    hidden: str = "64,32"
    """Sizes of a perceptron's hidden layers."""
    bilinear: str = "each"
    """Matrices of a bilinear interaction: ``all`` fields, ``each`` field or ``interaction``."""
    pairs: str = "inner"
    """What FiBiNET's perceptron gets of a pair: ``inner`` product or ``hadamard`` product."""
    layer_norm: bool = False
    """Whether bilinear-ffm normalises its interaction."""
    numeric: str = "both"
    """How a quantile feeds the model: ``value`` (x·v), ``bins`` (an id) or ``both``."""
    bins: int | None = None
    """Bins of a numeric column, for ``bins`` and ``both``; None goes by the training rows."""
    init_scale: float | None = None
    """Standard deviation of the vectors at the start; None goes by the model."""
    epochs: int | None = None
    """Passes over the training split; None goes by the training rows."""
    batch_size: int | None = None
    """Rows of a global batch, over all ranks together; None goes by the training rows."""
    learning_rate: float | None = None
    """Peak rate, after warm-up; None goes by the batch size."""
    epsilon: float | None = None
    """Adam's ε on the tables, which damps the steps of ids that were seen a few times only; None
    goes by the model."""
    warmup: float = 0.02
    """Fraction of all steps over which the rate rises from zero; then it falls to zero."""
    l2_linear: float = 0.0
    """L2 coefficient of the linear weights of looked-up rows."""
    l2_embedding: float | None = None
    """L2 coefficient of the vectors of looked-up rows; None goes by model and training rows."""
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
                raise UsageError(f"{flag(name)} is {value}, expected a finite number")
        self._at_least(1, "embedding_dim", "bins", "epochs", "batch_size", "lanes")
        self._at_least(
            0, "init_scale", "learning_rate", "epsilon", "l2_linear", "l2_embedding",
            "evaluate_every", "patience", "seed",
        )  # fmt: skip
        for name, names in (
            ("numeric", NUMERIC_MODES), ("monitor", MONITORS), ("bilinear", BILINEAR_KINDS),
            ("pairs", PAIR_KINDS),
        ):  # fmt: skip
            if (value := getattr(self, name)) not in names:
                raise UsageError(f"--{name} {value} is not known: use {', '.join(names)}")
        if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", self.hidden):
            raise UsageError(f"--hidden is {self.hidden!r}, expected sizes like 64,32")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"--warmup is {self.warmup}, expected a fraction from 0 to below 1")

    def _at_least(self, least: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{flag(name)} is {value}, expected at least {least}")

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """``hidden`` as numbers."""
        return tuple(int(size) for size in self.hidden.split(","))

    def resolved(self, rows: int) -> "ResolvedConfig":
        """The same options with nothing left open, for a number of training rows.

        * embedding_dim, init_scale and epsilon: 4, 0.03 and 1e-5 for ffm; else 16, 0.01 and 1e-4.
        * bins: 32, or 16 below 200,000 rows.
        * epochs: one from three million rows on; what fewer rows lack, up to three make up for.
        * batch_size: the power of two below rows / 256, from 512 to 8,192: some hundred steps at
          least, and from two million rows on the speed of large batches.
        * learning_rate: 0.01, and from 2,048 rows a batch on in proportion to its square root.
        * l2_embedding: 300 / rows (ffm: 100 / rows), a penalty of fixed weight against the sum of
          all losses.

        ``docs/quality.md`` has the figures behind them.
        """
        least, most = _BATCH_SIZES
        batch_size = self.batch_size or min(max(1 << (rows // 256).bit_length() >> 1, least), most)
        by_model = _DEFAULTS_OF.get(self.model, _DEFAULTS)
        chosen = {
            "embedding_dim": by_model.embedding_dim,
            "init_scale": by_model.init_scale,
            "epsilon": by_model.epsilon,
            "bins": 32 if rows >= 200_000 else 16,
            "epochs": min(max(math.ceil(3_000_000 / rows), 1), 3),
            "batch_size": batch_size,
            "learning_rate": float(f"{0.01 * math.sqrt(max(1, batch_size / 2048)):.3g}"),
            "l2_embedding": float(f"{by_model.l2_total / rows:.2g}"),
        }
        given = {name: value for name, value in self.to_dict().items() if value is not None}
        return ResolvedConfig(**chosen | given)

    @property
    def open_options(self) -> list[str]:
        """Names of the options that go by the model and the number of training rows."""
        return [name for name, value in self.to_dict().items() if value is None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from plain values.

        Raises:
            UsageError: an unknown name (the nearest one is suggested) or a wrong type.
        """
        known = {f.name: _plain_type(f.type) for f in fields(cls)}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f": did you mean {near[0]}?" if near else ""
                raise UsageError(f"{where}: unknown option {name}{hint}")
            wanted = known[name]
            if not (type(value) is wanted or (wanted is float and type(value) is int)):
                expected = {str: "text", bool: "true or false"}.get(wanted, "a number")
                raise UsageError(f"{where}: {name} is {value!r}, expected {expected}")
        typed: dict[str, Any] = {n: float(v) if known[n] is float else v for n, v in values.items()}
        return cls(**typed)


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(TrainConfig):
    """Options with nothing left open: what a run is begun with, and what its record holds."""

    embedding_dim: int
    bins: int
    init_scale: float
    epochs: int
    batch_size: int
    learning_rate: float
    epsilon: float
    l2_embedding: float

    def chosen(self, asked: TrainConfig) -> str:
        """What was left open in the options that were asked for, and what it became."""
        values = ((name, getattr(self, name)) for name in asked.open_options)
        return ", ".join(f"{flag(name)} {value}" for name, value in values)


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
    tensorboard: bool = False
    """Write the history as TensorBoard's event files too."""
    quiet: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense, naming the flag."""
        for name, least in (
            ("workers", 0), ("checkpoint_every", 0), ("checkpoint_minutes", 0), ("keep", 1),
            ("threads", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UsageError(f"{flag(name)} is {value}, expected at least {least}")


def _plain_type(annotation: Any) -> type:
    """``int`` of ``int | None``."""
    found = next((t for t in get_args(annotation) if t is not type(None)), annotation)
    assert isinstance(found, type)
    return found


def flag(name: str) -> str:
    """The option of the command line for a field."""
    return "--" + name.replace("_", "-")


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
