"""The history of a run as curves in PNG: loss, AUC and learning rate over training rows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from criteo_stream.base.errors import UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.metrics.plots import empty_figure, save_figure, short_numbers
from criteo_stream.runs.history import HistoryLine

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

CURVES = {
    "loss": (("train_loss", "training"), ("log_loss", "valid")),
    "auc": (("auc", "valid"),),
    "learning_rate": (("learning_rate", "learning rate"),),
}
"""Curves that `plot` can draw: name, figures in the history, and their legends."""

_LABELS = {"loss": "log loss", "auc": "AUC", "learning_rate": "learning rate"}
_TITLES = {"loss": "Log loss", "auc": "AUC", "learning_rate": "Learning rate"}
_BEST: dict[str, Callable[..., tuple[int, float]]] = {"auc": max, "log_loss": min}
"""Figures that have a best value, and which one that is."""


def plot(
    history: "Sequence[HistoryLine] | pl.DataFrame",
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
    evaluations = (
        [line.to_dict() for line in history]
        if isinstance(history, Sequence)
        else history.to_dicts()
    )
    figure, axes = empty_figure(7, 4)
    for key, legend in CURVES[what]:
        points = [(line["rows"], line[key]) for line in evaluations if line.get(key) is not None]
        if points:
            (curve,) = axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=legend)
            if key in _BEST:
                best = _BEST[key](points, key=lambda point: point[1])
                axes.plot(
                    *best, marker="*", markersize=13, color=curve.get_color(), linestyle="none",
                    label=f"best: {best[1]:.4f}",
                )  # fmt: skip
    for legend, value in (lines or {}).items():
        axes.axhline(value, linestyle="--", color="gray", label=legend)
    axes.set_title(_TITLES[what])
    axes.set_xlabel("training rows")
    short_numbers(axes.xaxis)
    axes.set_ylabel(_LABELS[what])
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    if path is not None:
        save_figure(figure, user_path(path))
    return figure


def plot_all(history: Sequence[HistoryLine], folder: Path) -> list[Path]:
    """Draw all curves of a run into a folder."""
    pictures = [folder / f"{what}.png" for what in CURVES]
    for what, picture in zip(CURVES, pictures, strict=True):
        plot(history, what, picture)
    return pictures
