"""The days of a progressive validation as a table and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from criteo_stream.daily.folder import DayRecord
from criteo_stream.metrics.figures import FIGURES
from criteo_stream.metrics.plots import save_figure

_PANELS: Final = {**FIGURES, "oov_before": "OOV share"}
_HEAD: Final = ("day", "rows", "click rate", *FIGURES.values(), "OOV", "new ids")


def table_text(records: Sequence[DayRecord]) -> list[str]:
    """The days as lines of a table: each day's figures are those of the run of the day before."""
    rows = [_HEAD, *(_cells(record) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]


def _cells(record: DayRecord) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return (
        record.name,
        f"{record.rows:,}",
        f"{record.positives / record.rows:.4f}" if record.rows else "",
        number(record.auc, ".5f"),
        number(record.log_loss, ".5f"),
        number(record.ne, ".5f"),
        number(record.calibration, ".4f"),
        number(record.oov_before, ".2%"),
        f"{record.new_ids:,}",
    )


def draw_days(records: Sequence[DayRecord], path: Path) -> None:
    """Draw every figure over the days into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2 * len(_PANELS)), layout="constrained")
    panels = figure.subplots(len(_PANELS), 1, sharex=True)
    days = [record.day for record in records]
    for axes, (key, label) in zip(panels, _PANELS.items(), strict=True):
        points = [(r.day, value) for r in records if (value := getattr(r, key)) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3)
        if key == "calibration":
            axes.axhline(1, color="gray", linestyle="--", linewidth=1)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    panels[0].set_title("each day, predicted by the model of the days before")
    panels[-1].set_xticks(days, [record.name for record in records], rotation=45, ha="right")
    save_figure(figure, path)
