"""The options of training that decide a run's weights."""

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import (
    LARGEST_SEED,
    declared,
    from_dict,
    option,
    options,
    to_dict,
)
from criteo_stream.data.rank_share import MOST_LANES
from criteo_stream.runs.evaluations import planned
from criteo_stream.runs.model_defaults import defaults_of

Numeric = Literal["value", "bins", "both"]
Bilinear = Literal["all", "each", "interaction"]
Pairs = Literal["inner", "hadamard"]
Metric = Literal["auc", "log_loss"]

MODEL_NAMES: Final = ("fm", "lr", "ffm", "bilinear-ffm", "deepfm", "fibinet")
"""The models of this package; `criteo_stream.models.registry` has their classes."""
_BATCH_SIZES: Final = (512, 8192)
"""Smallest and largest batch that is chosen by the number of training rows."""
_LONGEST: Final = 1 << 20
"""Longest vector, largest layer and most bins: beyond, the sizes of tables overflow."""
_LARGEST: Final = 1e30
"""Rates and penalties beyond do not fit float32; whether a smaller one diverges, training tells."""
_MOST_LAYERS: Final = 100
_FORMER_NAMES: Final = {"monitor": "metric"}
"""Options of runs begun before they were renamed."""


@options
class TrainConfig:
    """The options of a training run; together with the data set they decide its weights.

    Those that may be None then depend on the model and the number of training rows: see
    `resolved`. ``docs/models.md`` says which models there are and which options they have.
    """

    model: str = option(
        default="fm",
        help="Train this model: lr, fm, ffm, bilinear-ffm, deepfm, fibinet, or your own as "
        "package.module:Class.",
    )
    embedding_dim: int | None = option(
        default=None,
        help="Give each id a vector of this length.",
        chosen_by="16; ffm 4",
        at_least=1,
        at_most=_LONGEST,
    )
    hidden: str = option(
        default="64,32",
        help="Give the perceptron of deepfm and fibinet hidden layers of these sizes.",
    )
    bilinear: Bilinear = option(
        default="each",
        help="Share the matrices of bilinear-ffm and fibinet among all fields, or give each field "
        "or each interaction of two fields its own.",
    )
    pairs: Pairs = option(
        default="inner",
        help="Feed fibinet's perceptron the inner or the Hadamard product of each pair of fields.",
    )
    layer_norm: bool = option(default=False, help="Normalize the interaction of bilinear-ffm.")
    numeric: Numeric = option(
        default="both",
        help="Feed integers to the model as a value (x times a vector), as the vector of a bin, "
        "or as both.",
    )
    bins: int | None = option(
        default=None,
        help="Cut each integer column into this many bins of equal frequency.",
        chosen_by="32, or 16 below 200k training rows",
        at_least=1,
        at_most=_LONGEST,
    )
    init_scale: float | None = option(
        default=None,
        help="Draw the initial embeddings with this standard deviation.",
        chosen_by="0.01; ffm 0.03",
        at_least=0,
        at_most=_LARGEST,
    )
    epochs: int | None = option(
        default=None,
        help="Pass over the training split this many times.",
        chosen_by="1 from 3M training rows on, up to 3 below; thinned rows count",
        at_least=1,
    )
    batch_size: int | None = option(
        default=None,
        help="Put this many rows into a batch, summed over all ranks.",
        chosen_by="512 to 8192, by training rows",
        at_least=1,
    )
    learning_rate: float | None = option(
        default=None,
        help="Rise to this learning rate, then decay to zero.",
        chosen_by="0.01 to 0.02, by batch size",
        at_least=0,
        at_most=_LARGEST,
    )
    epsilon: float | None = option(
        default=None,
        help="Set Adam's epsilon on the tables; a larger one damps the steps of rare ids.",
        chosen_by="1e-4; ffm 1e-5",
        at_least=1e-30,
        at_most=_LARGEST,
    )
    warmup: float = option(
        default=0.02,
        help="Raise the learning rate from zero over this fraction of all steps.",
        at_least=0,
        below=1,
    )
    l2_linear: float = option(
        default=0.0,
        help="Penalize the linear weights of looked-up rows with this L2.",
        at_least=0,
        at_most=_LARGEST,
    )
    l2_embedding: float | None = option(
        default=None,
        help="Penalize the vectors of looked-up rows with this L2.",
        chosen_by="300 / training rows; ffm 100 / training rows",
        at_least=0,
        at_most=_LARGEST,
    )
    seed: int = option(
        default=0,
        help="Random seed for the initial weights and the order of rows.",
        at_least=0,
        at_most=LARGEST_SEED,
    )
    lanes: int = option(
        default=16,
        help="Mix each batch from this many sequences of row groups; at least the number of ranks.",
        at_least=1,
        at_most=MOST_LANES,
    )
    evaluate_every: int | None = option(
        default=None,
        help="Evaluate every so many training rows of an epoch, and at its end; 0 at its end only.",
        chosen_by="up to 15 evaluations a run; with --patience at the ends of epochs",
        at_least=0,
        in_rows=True,
    )
    evaluate_rows: int | None = option(
        default=None,
        help="Evaluate on this many rows of the valid split, spread over it, and at the end of an "
        "epoch on all of it too; 0 takes all each time.",
        chosen_by="65536 to 1M, so that evaluations take up to a tenth of the time",
        at_least=0,
        in_rows=True,
    )
    metric: Metric = option(default="auc", help="Metric that selects the best checkpoint.")
    patience: int = option(
        default=0,
        help="Stop after this many evaluations without a better one; 0 never stops early.",
        at_least=0,
    )

    def check_together(self) -> None:
        """Refuse layers that are not sizes."""
        if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", self.hidden, re.ASCII):
            raise UsageError(f"--hidden is {self.hidden[:80]!r}, expected sizes like 64,32")
        sizes = self.hidden.split(",")
        # Length first: Python refuses to read numbers of thousands of digits.
        if (
            any(len(size) > 7 or int(size) > _LONGEST for size in sizes)
            or len(sizes) > _MOST_LAYERS
        ):
            raise UsageError(
                f"--hidden is {self.hidden[:80]!r}, expected at most {_MOST_LAYERS} layers of at "
                f"most {_LONGEST:,}"
            )

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """``hidden`` as numbers."""
        return tuple(int(size) for size in self.hidden.split(","))

    def resolved(self, rows: int, thinned: int = 0, valid: int = 0) -> "ResolvedConfig":
        """The same options with nothing left open, for a number of training rows.

        ``thinned`` negative rows were left out beside them; the valid split has ``valid`` rows.

        * embedding_dim, init_scale and epsilon: 4, 0.03 and 1e-5 for ffm; else 16, 0.01 and 1e-4.
        * bins: 32, or 16 below 200,000 rows.
        * epochs: one from three million rows on; up to three passes below. Rows that were left out
          count: all positives are there, and it is they that are learned by heart.
        * batch_size: the power of two below rows / 256, from 512 to 8,192: some hundred steps at
          least, and from two million rows on the speed of large batches.
        * learning_rate: 0.01, and from 2,048 rows per batch on in proportion to its square root; no
          batch has more rows than there are.
        * l2_embedding: 300 / rows (ffm: 100 / rows), a penalty of fixed weight against the sum of
          all losses.
        * evaluate_every, evaluate_rows: see `criteo_stream.runs.evaluations`.

        ``docs/quality.md`` has the figures behind them.
        """
        least, most = _BATCH_SIZES
        batch_size = self.batch_size or min(max(1 << (rows // 256).bit_length() >> 1, least), most)
        rows_in_batch = min(batch_size, rows)
        by_model = defaults_of(self.model)
        epochs = self.epochs or min(max(math.ceil(3_000_000 / (rows + thinned)), 1), 3)
        plan = planned(rows, epochs, valid, patient=self.patience > 0)
        chosen = {
            "embedding_dim": by_model.embedding_dim,
            "init_scale": by_model.init_scale,
            "epsilon": by_model.epsilon,
            "bins": 32 if rows >= 200_000 else 16,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": float(f"{0.01 * math.sqrt(max(1, rows_in_batch / 2048)):.3g}"),
            "l2_embedding": float(f"{by_model.l2_total / rows:.2g}"),
            "evaluate_every": plan.every,
            "evaluate_rows": 0 if self.evaluate_every == 0 else plan.rows,
        }
        given = {name: value for name, value in self.to_dict().items() if value is not None}
        return ResolvedConfig(**chosen | given)

    @property
    def open_options(self) -> list[str]:
        """Names of the options that depend on the model and the number of training rows."""
        return [name for name, value in self.to_dict().items() if value is None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from plain values, also those of a run begun before an option was renamed.

        Raises:
            UsageError: an unknown name (the nearest one is suggested), a wrong type, or a value
                that makes no sense.
        """
        return from_dict(cls, {_FORMER_NAMES.get(n, n): v for n, v in values.items()}, where)


@options
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
    evaluate_every: int
    evaluate_rows: int = 0  # older runs evaluated on all rows

    def chosen(self, asked: TrainConfig) -> str:
        """The options that were left open and the values they got, as flags."""
        values = ((name, getattr(self, name)) for name in asked.open_options)
        return ", ".join(f"{flag(name)} {value}" for name, value in values)


def flag(name: str) -> str:
    """The option of the command line for a field of `TrainConfig`."""
    return declared(TrainConfig)[name].flag if name in declared(TrainConfig) else f"--{name}"


def refuse_unknown_model(name: str) -> None:
    """Refuse what is neither the name of a model nor an import path.

    Raises:
        UsageError: it suggests the nearest name.
    """
    if name in MODEL_NAMES or ":" in name:
        return
    near = difflib.get_close_matches(name, MODEL_NAMES, 1)
    raise UsageError(
        f"--model {name} is not known{f' (did you mean {near[0]}?)' if near else ''}: "
        f"use {', '.join(MODEL_NAMES)}, or package.module:Class for your own"
    )
