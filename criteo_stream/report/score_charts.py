"""The pictures of a split's rows by their score."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from criteo_stream.metrics.ranked import Ranked, ranked
from criteo_stream.metrics.scores import Floats
from criteo_stream.report.charts import legend
from criteo_stream.report.facts import RunFacts
from criteo_stream.report.figures import (
    Chart,
    Trace,
    axis,
    figure,
    label,
    line,
    numbers,
    reference,
    series_color,
    star,
)

_POINTS: Final = 200
_BARS: Final = 40
_FIRST_SHARE: Final = {"lift": 0.005, "precision-recall": 0.005}
"""Share of rows that a curve begins at: the click rate of a handful of rows is chance."""


def score_charts(runs: Sequence[RunFacts], split: str) -> list[Chart]:
    """ROC, precision and recall, gains, lift and calibration of all runs; scores of each."""
    curves = [ranked(run.scores, _POINTS) for run in runs]
    rates = [run.evaluation.positives / max(1, run.evaluation.rows) for run in runs]
    rate = rates[0] if len({round(rate, 9) for rate in rates}) == 1 else None
    of_split = f"{split.capitalize()} split."

    def chart(
        key: str,
        title: str,
        note: str,
        x: Callable[[Ranked], Floats],
        y: Callable[[Ranked], Floats],
        axes: tuple[str, str],
        hover: str,
        best: Callable[[Ranked], int],
        chance: tuple[float, float] | None,
        form: str = ".0%",
    ) -> Chart:
        traces, stars = [], []
        for number, (run, curve) in enumerate(zip(runs, curves, strict=True)):
            shown = slice(int(np.searchsorted(curve.share, _FIRST_SHARE.get(key, 0))), None)
            name = label(run.name) if len(runs) > 1 else ""
            template = (
                f"{hover}<br>predicted ≥ %{{customdata:.4f}}<extra>%{{fullData.name}}</extra>"
            )
            trace = line(x(curve)[shown], y(curve)[shown], number, name=name, hover=template)
            trace["customdata"] = numbers(curve.probability[shown])
            place = best(curve)
            mark = star(x(curve)[place], y(curve)[place], number, name=name, hover=template)
            mark["customdata"] = numbers([curve.probability[place]])
            traces.append(trace)
            stars.append(mark)
        return Chart(
            key=key,
            title=title,
            note=f"{of_split} {note}",
            figure=figure(
                [*traces, *stars],
                x=axis(axes[0], ".0%", range=[-0.02, 1.02]),
                y=axis(axes[1], form, rangemode="tozero"),
                shapes=[reference((0, 1), chance)] if chance else [],
            ),
            legend=legend(runs),
        )

    youden, f1 = (lambda c: c.best_youden), (lambda c: c.best_f1)
    return [
        chart("roc", "ROC curve", "Dashed: chance. ★: farthest above it.",
              lambda c: c.false_positive_rate, lambda c: c.recall,
              ("false positive rate", "true positive rate"),
              "true positives %{y:.2%}, false positives %{x:.2%}", youden, (0, 1)),
        chart("precision-recall", "Precision and recall",
              "Dashed: the click rate of all rows. ★: highest F1.",
              lambda c: c.recall, lambda c: c.precision,
              ("recall: share of all clicks", "precision: click rate"),
              "precision %{y:.2%}, recall %{x:.2%}", f1, None if rate is None else (rate, rate)),
        _calibration(runs, split),
        chart("gains", "Cumulative gains",
              "Clicks among the rows with the highest scores. Dashed: chance. "
              "★: farthest above it.",
              lambda c: c.share, lambda c: c.recall, ("share of rows", "share of all clicks"),
              "%{y:.2%} of clicks in %{x:.2%} of rows", youden, (0, 1)),
        chart("lift", "Lift",
              "Click rate of the rows with the highest scores over that of all rows. "
              "★: where gains are farthest above chance.",
              lambda c: c.share, lambda c: c.lift, ("share of rows", "lift"),
              "%{y:.3f} times the click rate in %{x:.2%} of rows", youden, (1, 1), ".1f"),
        *(_histogram(run, number, split, several=len(runs) > 1)
          for number, run in enumerate(runs)),
    ]  # fmt: skip


def _calibration(runs: Sequence[RunFacts], split: str) -> Chart:
    """Click rate over predicted probability, with intervals."""
    traces, largest = [], 0.0
    for number, run in enumerate(runs):
        parts = run.evaluation.calibration_curve
        ends = [part.click_rate_interval or (part.click_rate,) * 2 for part in parts]
        trace = line(
            [part.predicted for part in parts], [part.click_rate for part in parts], number,
            name=label(run.name) if len(runs) > 1 else "", markers=True,
            hover="predicted %{x:.4f}, came %{y:.4f}<br>of %{customdata:,} rows"
            "<extra>%{fullData.name}</extra>",
        )  # fmt: skip
        trace["customdata"] = [part.rows for part in parts]
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": numbers(high - p.click_rate for p, (_, high) in zip(parts, ends, strict=True)),
            "arrayminus": numbers(
                p.click_rate - low for p, (low, _) in zip(parts, ends, strict=True)
            ),
            "color": series_color(number),
            "thickness": 1.2,
            "width": 3,
        }
        traces.append(trace)
        largest = max([largest, *(p.predicted for p in parts), *(high for _, high in ends)])
    top = min(1.0, largest * 1.05) or 1.0
    return Chart(
        key="calibration",
        title="Calibration curve",
        note=f"Observed click rate over predicted, in 20 equal parts of the {split} split. "
        "Dashed: calibrated; bars: 95 % intervals.",
        figure=figure(
            traces,
            x=axis("predicted probability", range=[0, top]),
            y=axis("click rate", range=[0, top]),
            shapes=[reference((0, top), (0, top))],
        ),
        legend=legend(runs),
    )


def _histogram(run: RunFacts, number: int, split: str, *, several: bool) -> Chart:
    highest = float(run.scores.probabilities[-1:].sum()) or 1.0
    top = min(1.0, math.ceil(highest * _BARS) / _BARS)
    counts = run.scores.histogram(_BARS, top)
    width = top / _BARS
    middles = [width * (bar + 0.5) for bar in range(_BARS)]
    looks = (("without a click", "--muted"), ("with a click", series_color(number)))
    traces: list[Trace] = [
        {
            "type": "bar",
            "x": numbers(middles),
            "y": numbers(bars / max(1, bars.sum())),
            "width": width,
            "name": kind,
            "customdata": bars.tolist(),
            "hovertemplate": f"near %{{x:.3f}}: %{{customdata:,}} rows {kind}, %{{y:.2%}} of them"
            "<extra></extra>",
            "marker": {"color": color, "line": {"width": 0}},
            "opacity": 0.55,
        }
        for bars, (kind, color) in zip(counts, looks, strict=True)
    ]
    return Chart(
        key=f"scores-{number}",
        title=f"Scores: {run.name}" if several else "Scores",
        note=f"{split.capitalize()} split. Grey: rows without a click; coloured: rows with one.",
        figure=figure(
            traces,
            x=axis("predicted probability"),
            y=axis("share of each group", ".0%"),
            barmode="overlay",
            bargap=0,
        ),
        legend=[],
    )
