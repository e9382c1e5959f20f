"""Curves of a run as PNG."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from criteo_stream.base.errors import UsageError
from criteo_stream.base.storage import atomic_path
from criteo_stream.metrics.scores import ScoreCounts

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = {
    "loss": (("train_loss", "training"), ("log_loss", "valid")),
    "auc": (("auc", "valid"),),
    "learning_rate": (("learning_rate", "learning rate"),),
}
"""What `plot` can draw: a picture's name, its figures in the history and their legends."""

_LABELS = {"loss": "log loss", "auc": "AUC", "learning_rate": "learning rate"}


def plot(
    history: "Sequence[dict[str, Any]] | pl.DataFrame",
    what: str,
    path: Path | str | None = None,
    *,
    lines: dict[str, float] | None = None,
) -> "Figure":
    """Draw one curve over the rows seen; a notebook shows it.

    Args:
        history: evaluations, as `Trainer.history` or `History.read` gives them.
        what: ``loss``, ``auc`` or ``learning_rate``.
        path: PNG file to save it to.
        lines: horizontal lines by legend, such as the best possible AUC.

    Raises:
        UsageError: ``what`` is not a known curve.
    """
    if what not in CURVES:
        raise UsageError(f"there is no curve {what!r}: choose {', '.join(CURVES)}")
    evaluations = history if isinstance(history, Sequence) else history.to_dicts()
    figure, axes = empty_figure(7, 4)
    for key, legend in CURVES[what]:
        points = [(line["rows"], line[key]) for line in evaluations if line.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=legend)
    for legend, value in (lines or {}).items():
        axes.axhline(value, linestyle="--", color="gray", label=legend)
    axes.set_xlabel("training rows")
    axes.set_ylabel(_LABELS[what])
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    if path is not None:
        _save(figure, Path(path))
    return figure


def plot_all(history: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw all curves of a run into a folder."""
    pictures = [folder / f"{what}.png" for what in CURVES]
    for what, picture in zip(CURVES, pictures, strict=True):
        plot(history, what, picture)
    return pictures


def plot_scores(scores: ScoreCounts, split: str, folder: Path) -> list[Path]:
    """Draw ``reliability-SPLIT.png`` and ``roc-SPLIT.png`` into a folder."""
    pictures = []
    for what, draw in (("reliability", draw_reliability), ("roc", draw_roc)):
        figure, axes = empty_figure(5, 5)
        draw(axes, scores)
        axes.set_title(split)
        axes.grid(alpha=0.3)
        pictures.append(_save(figure, folder / f"{what}-{split}.png"))
    return pictures


def draw_reliability(axes: "Axes", scores: ScoreCounts, **style: Any) -> None:
    """Click rate over predicted probability in parts of equal size, with 95 % intervals."""
    table = scores.reliability()
    rates = [part["click_rate"] for part in table]
    ends = [part["click_rate_interval"] for part in table]
    below_and_above = [
        [rate - low for rate, (low, _) in zip(rates, ends, strict=True)],
        [high - rate for rate, (_, high) in zip(rates, ends, strict=True)],
    ]
    predicted = [part["predicted"] for part in table]
    axes.axline((0, 0), slope=1, color="gray", linestyle="--", linewidth=1)
    axes.errorbar(predicted, rates, below_and_above, marker="o", markersize=3, **style)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("click rate")


def draw_roc(axes: "Axes", scores: ScoreCounts, **style: Any) -> None:
    """The ROC curve."""
    axes.axline((0, 0), slope=1, color="gray", linestyle="--", linewidth=1)
    axes.plot(*scores.roc(), **style)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")


def empty_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure of so many inches, and its axes."""
    # The object interface: no global state, no window system.
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            """What a notebook shows."""
            png = BytesIO()
            self.savefig(png, format="png", dpi=120)
            return png.getvalue()

    figure = ShownFigure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: "Figure", target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as partial:
        figure.savefig(partial, format="png", dpi=120)
    return target
