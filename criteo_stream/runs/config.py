"""The options of training that decide a run's weights."""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, Self

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
from criteo_stream.runs.layers import LARGEST_LAYER, layer_sizes
from criteo_stream.runs.model_names import MODEL_NAMES, defaults_of, uses

Numeric = Literal["value", "bins", "both"]
Bilinear = Literal["all", "each", "interaction"]
Pairs = Literal["inner", "hadamard"]
Metric = Literal["auc", "log_loss"]

_BATCH_SIZES: Final = (512, 8192)
"""Smallest and largest batch that is chosen by the number of training rows."""
_LARGEST: Final = 1e30
"""Rates and penalties beyond do not fit float32; whether a smaller one diverges, training tells."""
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
        help="Train this model: fm, lr, ffm, bilinear-ffm, deepfm, fibinet, or your own as "
        "package.module:Class.",
        suggested=MODEL_NAMES,
        panel="Model",
    )
    embedding_dim: int | None = option(
        default=None,
        help="Embed each id as a vector of length N.",
        chosen_by="16; ffm 4",
        at_least=1,
        at_most=LARGEST_LAYER,
        also="dim",
        panel="Model",
    )
    hidden: str = option(
        default="64,32",
        help="Give the perceptron of deepfm and fibinet hidden layers of these sizes.",
        panel="Model",
    )
    bilinear: Bilinear = option(
        default="each",
        help="Share one matrix among all fields, or learn one per field or per pair of fields "
        "(interaction); for bilinear-ffm and fibinet.",
        panel="Model",
    )
    pairs: Pairs = option(
        default="inner",
        help="Feed the inner or the Hadamard product of each pair of fields to fibinet's "
        "perceptron.",
        panel="Model",
    )
    layer_norm: bool = option(
        default=False,
        help="Normalize the interactions of bilinear-ffm.",
        panel="Model",
    )
    numeric: Numeric = option(
        default="both",
        help="Represent each integer by its value times a vector, by the vector of its bin, or "
        "by both.",
        panel="Model",
    )
    bins: int | None = option(
        default=None,
        help="Cut each integer column into N bins of equal frequency.",
        chosen_by="32, or 16 below 200k training rows",
        at_least=1,
        at_most=LARGEST_LAYER,
        panel="Model",
    )
    init_scale: float | None = option(
        default=None,
        help="Draw the initial embeddings with standard deviation X.",
        chosen_by="0.01; ffm 0.03",
        at_least=0,
        at_most=_LARGEST,
        panel="Model",
    )
    epochs: int | None = option(
        default=None,
        help="Pass over the training split N times.",
        chosen_by="1, or up to 3 below 3M training rows; thinned rows count",
        at_least=1,
        panel="Optimiser",
    )
    batch_size: int | None = option(
        default=None,
        help="Train on batches of N rows, summed over all ranks.",
        chosen_by="512 to 8192, by number of training rows",
        at_least=1,
        panel="Optimiser",
    )
    learning_rate: float | None = option(
        default=None,
        help="Raise the learning rate to X during warm-up, then decay it to zero.",
        chosen_by="0.01 to 0.02, by batch size",
        at_least=0,
        at_most=_LARGEST,
        also="lr",
        panel="Optimiser",
    )
    epsilon: float | None = option(
        default=None,
        help="Set Adam's epsilon for the tables; a larger one damps the steps of rare ids.",
        chosen_by="1e-4; ffm 1e-5",
        at_least=1e-30,
        at_most=_LARGEST,
        panel="Optimiser",
    )
    warmup: float = option(
        default=0.02,
        help="Warm up the learning rate over this fraction of all steps.",
        at_least=0,
        below=1,
        panel="Optimiser",
    )
    l2_linear: float = option(
        default=0.0,
        help="Apply this L2 penalty to the linear weights of the ids in a batch.",
        at_least=0,
        at_most=_LARGEST,
        panel="Optimiser",
    )
    l2_embedding: float | None = option(
        default=None,
        help="Apply this L2 penalty to the embedding vectors of the ids in a batch.",
        chosen_by="300 / training rows; ffm 100",
        at_least=0,
        at_most=_LARGEST,
        panel="Optimiser",
    )
    seed: int = option(
        default=0,
        help="Seed the initial weights and the order of the rows.",
        at_least=0,
        at_most=LARGEST_SEED,
        panel="Data",
    )
    lanes: int = option(
        default=16,
        help="Mix each batch from N sequences of row groups; at least the number of ranks.",
        at_least=1,
        at_most=MOST_LANES,
        panel="Data",
    )
    evaluate_every: int | None = option(
        default=None,
        help="Evaluate after every ROWS training rows of an epoch, and at its end; 0 at its end "
        "only.",
        chosen_by="up to 15 a run, fewer for large tables; with --patience at the ends of epochs",
        at_least=0,
        in_rows=True,
        panel="Evaluation",
    )
    evaluate_rows: int | None = option(
        default=None,
        help="Evaluate on ROWS rows of the valid split, spread over it, and at the end of an "
        "epoch on all of it too; 0 takes all each time.",
        chosen_by="65536 to 1M, so that evaluations take up to a tenth of the time",
        at_least=0,
        in_rows=True,
        panel="Evaluation",
    )
    metric: Metric = option(
        default="auc",
        help="Choose the best checkpoint by this metric.",
        panel="Evaluation",
    )
    patience: int = option(
        default=0,
        help="Stop after N evaluations without an improvement; 0 never stops early.",
        at_least=0,
        panel="Evaluation",
    )

    def check_together(self) -> None:
        """Refuse layers that are not sizes."""
        layer_sizes(self.hidden)

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """``hidden`` as numbers."""
        return layer_sizes(self.hidden)

    def resolved(
        self, rows: int, thinned: int = 0, valid: int = 0, ids: int = 0
    ) -> "ResolvedConfig":
        """The same options with nothing left open, for a number of training rows.

        ``thinned`` negative rows were left out beside them; the valid split has ``valid`` rows, the
        vocabularies have ``ids`` ids.

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
        width = 1 + by_model.vectors * (self.embedding_dim or by_model.embedding_dim)
        plan = planned(rows, epochs, valid, patient=self.patience > 0, weights=ids * width)
        every = plan.every if self.evaluate_every is None else self.evaluate_every
        chosen = {
            "embedding_dim": by_model.embedding_dim,
            "init_scale": by_model.init_scale,
            "epsilon": by_model.epsilon,
            "bins": 32 if rows >= 200_000 else 16,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": float(f"{0.01 * math.sqrt(max(1, rows_in_batch / 2048)):.3g}"),
            "l2_embedding": float(f"{by_model.l2_total / rows:.2g}"),
            "evaluate_every": every,
            # Where all evaluations are at ends of epochs, they compare on the whole split.
            "evaluate_rows": plan.rows if every else 0,
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
        """The options left open that the model uses, as flags with their values.

        A no-break space is between the two, see `criteo_stream.base.terminal.wrapped`.
        """
        names = [name for name in asked.open_options if uses(self.model, name)]
        return ", ".join(f"{flag(name)}\xa0{getattr(self, name)}" for name in names)


def flag(name: str) -> str:
    """The option of the command line for a field of `TrainConfig`."""
    return declared(TrainConfig)[name].flag if name in declared(TrainConfig) else f"--{name}"
