"""Evaluations as the rows of a table that fits a terminal of 80 columns."""

from typing import Final

from criteo_stream.runs.history import HistoryLine

HEADING: Final = "epoch           rows       loss       AUC  log loss      rows/s"
"""The loss is that of training; AUC and log loss are of the valid split."""


def row(line: HistoryLine, mark: str = "") -> str:
    """An evaluation under the heading; ``mark`` says what is special about it."""
    text = (
        f"{line.epoch:>5}  {line.rows:>13,}  {line.train_loss:>9.5f}"
        f"  {_figure(line.auc):>8}  {_figure(line.log_loss):>8}  {line.rows_per_second:>10,}"
    )
    return f"{text}  {mark}".rstrip()


def whole_row(line: HistoryLine) -> str:
    """The figures on the whole valid split, below a row whose own are of a part of it."""
    return (
        f"{'all valid rows':>31}  {_figure(line.whole_auc):>8}  {_figure(line.whole_log_loss):>8}"
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"
