"""Curves of a history: what their axes and marks say."""

import pytest

from criteo_stream.runs.curves import plot
from criteo_stream.runs.history import HistoryLine


def line(rows: int, auc: float | None, log_loss: float | None) -> HistoryLine:
    return HistoryLine(
        epoch=1, step=rows // 100, rows=rows, train_loss=0.5, learning_rate=0.01, auc=auc,
        log_loss=log_loss, ne=None, calibration=None, rows_per_second=1, waited_for_data=0,
        peak_memory_bytes=1,
    )  # fmt: skip


HISTORY = [line(2_500_000, 0.7, 0.5), line(5_000_000, 0.8, 0.4), line(10_000_000, 0.75, 0.45)]


@pytest.mark.parametrize(
    ("what", "best"), [("auc", (5e6, 0.8)), ("loss", (5e6, 0.4)), ("learning_rate", None)]
)
def test_rows_are_short_and_the_best_has_a_star(
    what: str, best: tuple[float, float] | None
) -> None:
    figure = plot(HISTORY, what)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert "10 M" in ticks
    assert axes.xaxis.get_offset_text().get_text() == ""
    assert axes.get_title()
    stars = [curve for curve in axes.lines if curve.get_marker() == "*"]
    assert [(*curve.get_xdata(), *curve.get_ydata()) for curve in stars] == ([best] if best else [])


def test_an_empty_valid_split_has_no_star() -> None:
    (axes,) = plot([line(100, None, None)], "auc").axes
    assert not axes.lines
