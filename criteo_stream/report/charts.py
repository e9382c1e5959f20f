"""The pictures of training, of columns and of resources."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.report.columns import IntegerFacts
from criteo_stream.report.facts import RunFacts
from criteo_stream.report.figures import (
    Chart,
    Trace,
    axis,
    figure,
    label,
    line,
    numbers,
    series_color,
    star,
)
from criteo_stream.runs.history import HistoryLine

_POINTS: Final = 400
"""Most points of a learning curve."""
_SINCE_THE_LINE_BEFORE: Final = ("train_loss", "rows_per_second", "waited_for_data")


def training_charts(runs: Sequence[RunFacts]) -> list[Chart]:
    """Figures of the evaluations during training, over the training rows seen."""
    star_is = "★: the best weights, which all other figures describe."
    return [
        _over_rows(
            runs, "Log loss over training",
            f"Solid: valid split; dashed: training rows since the one before. {star_is}",
            [("log_loss", "valid", "solid"), ("train_loss", "training", "dash")], "log loss",
            ".5f", best="log_loss",
        ),
        _over_rows(runs, "AUC over training", f"Valid split. {star_is}",
                   [("auc", "valid", "solid")], "AUC", ".5f", best="auc"),
        _over_rows(runs, "Learning rate", "Of the last step.",
                   [("learning_rate", "", "solid")], "learning rate", ".3g"),
    ]  # fmt: skip


def resource_charts(runs: Sequence[RunFacts]) -> list[Chart]:
    """Speed and memory of training."""
    return [
        _over_rows(runs, "Rows per second", "Steps only, evaluations not counted.",
                   [("rows_per_second", "", "solid")], "rows per second", ".3s", ticks="~s"),
        _over_rows(runs, "Peak memory", "All processes of the run.",
                   [("peak_memory_bytes", "", "solid")], "bytes", ".3s", ticks="~s", unit="B"),
        _over_rows(runs, "Waiting for data", "Share of the time of steps.",
                   [("waited_for_data", "", "solid")], "share of time", ".1%", ticks="~%"),
    ]  # fmt: skip


def importance_chart(runs: Sequence[tuple[int, RunFacts]], data: int) -> Chart:
    """Fields of a data set by how much they move the logit, the most important on top.

    Args:
        runs: those on the data set, and their numbers in the page.
        data: number of the data set.
    """
    fields = [*INTEGER_COLUMNS, *CATEGORICAL_COLUMNS]
    shuffled = np.stack([run.importance.shuffled.numpy() for _, run in runs])
    order = np.argsort(-shuffled.mean(0), kind="stable")
    traces: list[Trace] = [
        {
            "type": "bar",
            "orientation": "h",
            "x": numbers(values[order]),
            "y": [fields[place] for place in order],
            "name": label(run.name),
            "hovertemplate": "%{y}: %{x:.4f}",
            "marker": {"color": series_color(number)},
        }
        for (number, run), values in zip(runs, shuffled, strict=True)
    ]
    return Chart(
        key=f"importance-{data}",
        title="Fields by importance",
        note="Mean change of the logit when a field's values are permuted across rows"
        + (", sorted by the mean over runs." if len(runs) > 1 else "."),
        figure=figure(
            traces,
            x=axis("mean change of the logit", side="top", rangemode="tozero"),
            y={"autorange": "reversed", "type": "category", "dtick": 1},
            height=90 + len(fields) * (12 + 7 * len(runs)),
            bargap=0.3,
        ),
        legend=[(number, run.name) for number, run in runs] if len(runs) > 1 else [],
    )


def quantile_charts(columns: Sequence[IntegerFacts], data: int) -> list[Chart]:
    """The values of each integer column of a data set, by its number, over their quantiles."""
    return [
        Chart(
            key=f"values-{data}-{number}",
            title=column.column,
            note=f"{column.distinct:,} values, {column.missing:.1%} missing",
            figure=_quantiles(column),
            legend=[],
        )
        for number, column in enumerate(columns)
    ]


def legend(runs: Sequence[RunFacts]) -> list[tuple[int, str]]:
    """What the colours of a chart mean; nothing for one run."""
    return [(number, run.name) for number, run in enumerate(runs)] if len(runs) > 1 else []


def _quantiles(column: IntegerFacts) -> dict[str, object]:
    """Values on a scale that is logarithmic from 1 on, to both sides of 0."""
    values = np.array([value for _, value in column.curve], np.float64)
    height = _symlog(values)
    trace = line(
        [q for q, _ in column.curve], height, 0, name=label(column.column),
        hover="quantile %{x:.2f}: %{customdata:,}<extra></extra>",
    )  # fmt: skip
    trace["customdata"] = [value for _, value in column.curve]
    ticks = [t for t in _symlog_ticks(values) if -(10**12) < t < 10**12]
    y = axis("value") | {"tickvals": numbers(_symlog(np.array(ticks, np.float64)))}
    y["ticktext"] = [_short(tick) for tick in ticks]
    return figure([trace], x=axis("quantile"), y=y, height=210)


def _symlog(values: np.ndarray) -> np.ndarray:
    """Linear between −1 and 1, by powers of ten beyond: 10 is at 2, 100 at 3."""
    size = np.abs(values)
    scaled: np.ndarray = np.where(size > 1, 1 + np.log10(np.maximum(1, size)), size)
    signed: np.ndarray = np.copysign(scaled, values)
    return signed


def _symlog_ticks(values: np.ndarray) -> list[int]:
    """0 and powers of ten about the values, at most five to a side."""
    if not len(values):
        return [0]
    ticks = [0]
    for sign in (-1, 1):
        top = max(0, (sign * values).max())
        powers = int(np.ceil(np.log10(top))) if top > 1 else 0
        every = 1 + powers // 5
        ticks += [sign * 10**power for power in range(0, powers + 1, every)] if top else []
    return sorted(ticks)


def _short(number: int) -> str:
    """10k instead of 10000."""
    sign = "−" if number < 0 else ""
    for unit, factor in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if abs(number) >= factor:
            return f"{sign}{abs(number) // factor}{unit}"
    return f"{sign}{abs(number)}"


def _over_rows(
    runs: Sequence[RunFacts],
    title: str,
    note: str,
    figures: Sequence[tuple[str, str, str]],
    what: str,
    form: str,
    *,
    ticks: str = "",
    unit: str = "",
    best: str | None = None,
) -> Chart:
    """Figures of the history, each in a line style, over the training rows seen.

    Args:
        runs: all of them.
        title: of the chart.
        note: below it.
        figures: names in the history, what tells them apart, and their dashes.
        what: title of the axis.
        form: of a value that one points at.
        ticks: form of the axis; it begins at 0 if there is one.
        unit: of the values.
        best: the figure that a star marks at the run's best weights.
    """
    traces, stars = [], []
    for number, run in enumerate(runs):
        for key, kind, dash in figures:
            lines = _thinned([x for x in _told(run, key) if getattr(x, key) is not None])
            name = ", ".join(filter(None, (label(run.name) if len(runs) > 1 else "", kind)))
            hover = f"%{{x:.3s}} rows: %{{y:{form}}}{unit}<extra>%{{fullData.name}}</extra>"
            y = [getattr(x, key) for x in lines]
            traces.append(
                line([x.rows for x in lines], y, number, name=name, hover=hover,
                     markers=dash == "solid", dash=dash)
            )  # fmt: skip
            if key == best:
                stars += [
                    star(x.rows, getattr(x, key), number, name=name, hover=hover)
                    for x in run.history
                    if x.step == run.step and getattr(x, key) is not None
                ]
    y_axis = axis(what, ticks, ticksuffix=unit) | ({"rangemode": "tozero"} if ticks else {})
    return Chart(
        key=title.lower().replace(" ", "-"),
        title=title,
        note=note,
        figure=figure([*traces, *stars], x=axis("training rows", "~s"), y=y_axis),
        legend=legend(runs),
    )


def _told(run: RunFacts, key: str) -> list[HistoryLine]:
    """Lines that tell a figure: of its kind since the line before, only those of enough rows.

    The last batches of an epoch often follow an evaluation; a mean over a few says nothing.
    """
    if key not in _SINCE_THE_LINE_BEFORE or not run.history:
        return run.history
    rows = np.diff([0, *(line.rows for line in run.history)])
    return [x for x, n in zip(run.history, rows, strict=True) if n >= np.median(rows) / 10]


def _thinned(lines: Sequence[HistoryLine]) -> Sequence[HistoryLine]:
    """Some of many lines, evenly, with the first and the last."""
    if len(lines) <= _POINTS:
        return lines
    return [lines[place] for place in np.linspace(0, len(lines) - 1, _POINTS).astype(int)]
