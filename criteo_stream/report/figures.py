"""Figures as Plotly reads them: plain values, in names of the page's own colours.

Nothing here needs Plotly. The page draws with plotly.js, which its script gives these values; a
colour is a custom property of the page's style sheet, such as ``--ink``, so that the same figure
is light or dark. Text of others is escaped: Plotly takes tags in it for markup.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from criteo_stream.base.terminal import visible

SERIES: Final = 8
"""Colours for series; further ones begin anew."""

Figure = dict[str, Any]
"""``data`` and ``layout``, as in Plotly."""
Trace = dict[str, Any]

_LONGEST_NAME: Final = 32


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture with its words."""

    key: str
    """Of the figure, within the page."""
    title: str
    note: str
    figure: Figure
    legend: list[tuple[int, str]]
    """Numbers of series and their names; empty where the title says it."""


def series_color(number: int) -> str:
    """The colour of a series; `SERIES` of them differ."""
    return f"--series-{number % SERIES}"


def label(text: str) -> str:
    """Text of others for a figure: shortened in its middle, and never markup."""
    text = visible(text)
    if len(text) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        text = f"{text[: half - 1]}…{text[-half:]}"
    return escape(text, quote=False)


def numbers(values: Iterable[float]) -> list[float | None]:
    """Values to six digits, so that the page stays small; None where one is not a number."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


def line(
    x: Iterable[float],
    y: Iterable[float],
    number: int,
    *,
    name: str,
    hover: str,
    markers: bool = False,
    **style: Any,
) -> Trace:
    """A curve in the colour of a series.

    Args:
        x: of its points.
        y: of its points.
        number: of the series.
        name: what a hover says that it is, from `label`.
        hover: Plotly's template of what else it says.
        markers: show the points as well.
        style: of Plotly's line.
    """
    color = series_color(number)
    trace: Trace = {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "x": numbers(x),
        "y": numbers(y),
        "name": name,
        "hovertemplate": hover,
        "line": {"color": color, "width": 2} | style,
    }
    if markers:
        trace["marker"] = {"color": color, "size": 5}
    return trace


def star(x: float, y: float, number: int, *, name: str, hover: str) -> Trace:
    """A ★ at the best point of a series."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": numbers([x]),
        "y": numbers([y]),
        "name": name,
        "hovertemplate": f"★ {hover}",
        "marker": {
            "symbol": "star",
            "size": 14,
            "color": series_color(number),
            "line": {"color": "--panel", "width": 1.5},
        },
    }


def reference(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """A dashed line from one point to another, such as that of chance."""
    ends = {"x0": x[0], "x1": x[1], "y0": y[0], "y1": y[1]}
    look = {"color": "--muted", "width": 1.2, "dash": "dash"}
    return {"type": "line", **ends, "line": look, "layer": "between"}


def axis(title: str, form: str = "", **more: Any) -> dict[str, Any]:
    """An axis; ``form`` is that of its numbers, in the language of d3-format."""
    return {"title": {"text": title}, "tickformat": form} | more


def figure(
    traces: Sequence[Trace],
    *,
    x: dict[str, Any],
    y: dict[str, Any],
    height: int = 300,
    **layout: Any,
) -> Figure:
    """A figure of one pair of axes."""
    return {"data": [*traces], "layout": {"xaxis": x, "yaxis": y, "height": height} | layout}
