"""The rows of a split by their score, as pictures: calibration curve and ROC curve."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from criteo_stream.base.storage import atomic_path, make_folder
from criteo_stream.metrics.ranked import ranked
from criteo_stream.metrics.scores import ScoreCounts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


def plot_scores(scores: ScoreCounts, split: str, folder: Path) -> list[Path]:
    """Draw ``calibration-SPLIT.png`` and ``roc-SPLIT.png`` into a folder."""
    pictures = []
    drawings = (
        ("calibration", "Calibration", draw_calibration_curve),
        ("roc", "ROC curve", draw_roc),
    )
    for what, title, draw in drawings:
        figure, axes = empty_figure(5, 5)
        draw(axes, scores)
        axes.set_title(f"{title}, {split} split")
        axes.grid(alpha=0.3)
        pictures.append(save_figure(figure, folder / f"{what}-{split}.png"))
    return pictures


def draw_calibration_curve(axes: "Axes", scores: ScoreCounts) -> None:
    """Click rate over predicted probability in parts of equal size, with 95 % intervals."""
    table = scores.calibration_curve()
    rates = [part.click_rate for part in table]
    ends = [part.click_rate_interval or (part.click_rate,) * 2 for part in table]
    below_and_above = [
        [rate - low for rate, (low, _) in zip(rates, ends, strict=True)],
        [high - rate for rate, (_, high) in zip(rates, ends, strict=True)],
    ]
    predicted = [part.predicted for part in table]
    axes.axline((0, 0), slope=1, color="gray", linestyle="--", linewidth=1)
    axes.errorbar(predicted, rates, below_and_above, marker="o", markersize=3)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("click rate")


def draw_roc(axes: "Axes", scores: ScoreCounts) -> None:
    """The ROC curve."""
    curve = ranked(scores)
    axes.axline((0, 0), slope=1, color="gray", linestyle="--", linewidth=1)
    axes.plot(curve.false_positive_rate, curve.recall)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")


def empty_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure of so many inches, and its axes."""
    # The object interface: no global state, no window system.
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            """Let a notebook show the figure."""
            png = BytesIO()
            self.savefig(png, format="png", dpi=120)
            return png.getvalue()

    figure = ShownFigure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def short_numbers(axis: "Axis") -> None:
    """Label an axis with 2.5 M instead of 2.5 and a 1e6 at its end."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter())


def save_figure(figure: "Figure", target: Path) -> Path:
    """Write a figure as PNG, whole or not at all; its folder is made."""
    make_folder(target.parent)
    with atomic_path(target) as partial:
        figure.savefig(partial, format="png", dpi=120)
    return target
