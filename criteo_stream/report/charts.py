"""The pictures of a report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from criteo_stream.metrics.plots import draw_calibration_curve, draw_roc, empty_figure
from criteo_stream.report.columns import IntegerFacts
from criteo_stream.report.facts import RunFacts
from criteo_stream.report.svg import Picture, page_style, page_svg, series_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_BARS: Final = 50


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture with its words."""

    title: str
    note: str
    picture: Picture
    legend: list[tuple[int, str]]
    """Numbers of series and their names; empty where the title says it."""


Draw = Callable[["Axes"], Any]


def training_charts(runs: Sequence[RunFacts]) -> list[Chart]:
    """Figures of the evaluations during training, over the training rows seen."""
    return [
        _over_rows(
            runs, "Log loss", "Solid: valid split; dashed: training rows since the one before.",
            [("log_loss", "-"), ("train_loss", "--")],
        ),
        _over_rows(runs, "AUC", "Valid split.", [("auc", "-")]),
        _over_rows(runs, "Learning rate", "", [("learning_rate", "-")]),
    ]  # fmt: skip


def resource_charts(runs: Sequence[RunFacts]) -> list[Chart]:
    """Speed and memory of training."""
    return [
        _over_rows(runs, "Rows per second", "Steps only, evaluations not counted.",
                   [("rows_per_second", "-")], from_zero=True),
        _over_rows(runs, "Peak memory", "All processes of the run, in bytes.",
                   [("peak_memory_bytes", "-")], from_zero=True),
        _over_rows(runs, "Waiting for data", "Share of the time of steps.",
                   [("waited_for_data", "-")], from_zero=True),
    ]  # fmt: skip


def score_charts(runs: Sequence[RunFacts], split: str) -> list[Chart]:
    """Calibration curve and ROC of all runs, then a histogram of each."""

    def calibration(axes: "Axes") -> None:
        for number, run in enumerate(runs):
            draw_calibration_curve(axes, run.scores, color=series_color(number), linewidth=1.2)

    def roc(axes: "Axes") -> None:
        for number, run in enumerate(runs):
            draw_roc(axes, run.scores, color=series_color(number))

    legend = _legend(runs)
    return [
        _chart("Calibration curve", "Clicks that came over clicks predicted in 20 parts of the "
               f"{split} split with as many rows each; bars are 95 % intervals.",
               calibration, legend),
        _chart("ROC curve", f"{split.capitalize()} split.", roc, legend),
        *(_histogram(run, number, split, several=len(runs) > 1)
          for number, run in enumerate(runs)),
    ]  # fmt: skip


def quantile_charts(columns: Sequence[IntegerFacts], data: int) -> list[Chart]:
    """The values of each integer column of a data set, by its number, over their quantiles."""

    def drawing(column: IntegerFacts) -> Draw:
        def draw(axes: "Axes") -> None:
            if column.curve:
                axes.plot(*zip(*column.curve, strict=True), color=series_color(0))
            axes.set_yscale("symlog", linthresh=1)
            axes.set_xlabel("quantile")
            _short_numbers(axes.yaxis)

        return draw

    return [
        _chart(c.column, f"{c.distinct:,} values, {c.missing:.1%} missing", drawing(c), [],
               key=f"values-{data}-{number}", size=(3, 2.2))
        for number, c in enumerate(columns)
    ]  # fmt: skip


def _over_rows(
    runs: Sequence[RunFacts],
    title: str,
    note: str,
    figures: Sequence[tuple[str, str]],
    *,
    from_zero: bool = False,
) -> Chart:
    """Figures of the history, each in a line style, over the training rows seen."""

    def draw(axes: "Axes") -> None:
        for number, run in enumerate(runs):
            for key, style in figures:
                points = [
                    (x.rows, getattr(x, key)) for x in run.history if getattr(x, key) is not None
                ]
                axes.plot(
                    [x for x, _ in points], [y for _, y in points], style,
                    color=series_color(number), marker="o", markersize=3,
                )  # fmt: skip
        axes.set_xlabel("training rows")
        _short_numbers(axes.xaxis)
        if axes.get_ylim()[1] >= 1000:
            _short_numbers(axes.yaxis)
        if from_zero:
            axes.set_ylim(bottom=0)

    return _chart(title, note, draw, _legend(runs))


def _histogram(run: RunFacts, number: int, split: str, *, several: bool) -> Chart:
    negatives, positives = run.scores.histogram(_BARS)
    edges = [bar / _BARS for bar in range(_BARS + 1)]

    def draw(axes: "Axes") -> None:
        axes.stairs(negatives / max(1, negatives.sum()), edges, color=series_color(number))
        axes.stairs(
            positives / max(1, positives.sum()), edges, color=series_color(number), fill=True,
            alpha=0.35,
        )  # fmt: skip
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share of rows")

    note = f"{split.capitalize()} split. Line: rows without a click; filled: rows with one."
    title = f"Scores: {run.name}" if several else "Scores"
    return _chart(title, note, draw, [], key=f"scores-{number}")


def _chart(
    title: str,
    note: str,
    draw: Draw,
    legend: list[tuple[int, str]],
    *,
    key: str | None = None,
    size: tuple[float, float] = (4.6, 3.1),
) -> Chart:
    """Draw a chart; ``key`` tells it from the others where its title does not."""
    key = key or title.lower().replace(" ", "-")
    with page_style():
        figure, axes = empty_figure(*size)
        draw(axes)
        return Chart(
            title=title,
            note=note,
            picture=page_svg(figure, f"chart-{key}"),
            legend=legend,
        )


def _legend(runs: Sequence[RunFacts]) -> list[tuple[int, str]]:
    return [(number, run.name) for number, run in enumerate(runs)] if len(runs) > 1 else []


def _short_numbers(axis: "Axis") -> None:
    """1.5 M instead of 1500000."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter())
