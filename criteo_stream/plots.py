"""Curves of a run as PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from criteo_stream.errors import UsageError
from criteo_stream.storage import atomic_path

CURVES = {
    "loss": (("train_loss", "training"), ("log_loss", "valid")),
    "auc": (("auc", "valid"),),
    "learning_rate": (("learning_rate", "learning rate"),),
}
"""What `plot` can draw: a picture's name, its figures in the history and their legends."""

_LABELS = {"loss": "log loss", "auc": "AUC", "learning_rate": "learning rate"}


def plot(
    history: Sequence[dict[str, Any]],
    what: str,
    path: Path | str,
    *,
    lines: dict[str, float] | None = None,
) -> Path:
    """Draw one curve over the rows seen.

    Args:
        history: evaluations as `History.read` gives them.
        what: ``loss``, ``auc`` or ``learning_rate``.
        path: the PNG file.
        lines: horizontal lines by legend, such as the best possible AUC.

    Raises:
        UsageError: ``what`` is not a known curve.
    """
    if what not in CURVES:
        raise UsageError(f"there is no curve {what!r}: choose {', '.join(CURVES)}")
    # The object interface with its own canvas: no global state, no window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, legend in CURVES[what]:
        points = [(line["rows"], line[key]) for line in history if line.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=legend)
    for legend, value in (lines or {}).items():
        axes.axhline(value, linestyle="--", color="gray", label=legend)
    axes.set_xlabel("training rows")
    axes.set_ylabel(_LABELS[what])
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as partial:
        figure.savefig(partial, format="png", dpi=120)
    return target


def plot_all(history: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw all curves of a run into a folder."""
    return [plot(history, what, folder / f"{what}.png") for what in CURVES]
