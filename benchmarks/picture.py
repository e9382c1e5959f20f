"""Draw the table of peers for the README: python -m benchmarks.picture.

It reads the table between the marks in ``benchmarks/README.md``, so picture and table agree.
"""

from pathlib import Path
from typing import Final, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot

HERE: Final = Path(__file__).parent
TARGET: Final = HERE.parent / "docs" / "images" / "peers.svg"
OWN, OTHER, INK = "#3f51b5", "#b0b7c3", "#24292f"
SHOWN: Final = {
    "criteo-stream FM, one pass": "criteo-stream (FM)",
    "Vowpal Wabbit LR": "Vowpal Wabbit (LR)",
    "LightGBM": "LightGBM",
    "DeepCTR-Torch FM, integers as bins": "DeepCTR-Torch (FM)",
    "FuxiCTR FM, batch 1,000": "FuxiCTR (FM)",
}
"""Rows that are drawn, of each tool the setting of the better AUC, and their labels."""


class Peer(NamedTuple):
    """A tool's figures."""

    label: str
    prepare: float
    """rows/s from raw lines to what training reads"""
    train: float
    """training rows/s"""
    auc: float
    """on the test split"""


def peers(document: str) -> list[Peer]:
    """The rows to draw, from the text of ``benchmarks/README.md``."""
    section = document.partition("<!-- peers -->")[2].partition("<!-- end of peers -->")[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 8 and cells[0] in SHOWN:
            prepare, train, auc = (float(cells[i].replace(",", "")) for i in (1, 3, 6))
            found[cells[0]] = Peer(SHOWN[cells[0]], prepare, train, auc)
    return [found[name] for name in SHOWN]


def draw(rows: list[Peer], target: Path) -> None:
    """Three charts side by side, legible on light and dark pages."""
    mpl.rcParams.update({"svg.hashsalt": "peers", "font.size": 10, "text.color": INK})
    figure, axes = pyplot.subplots(1, 3, figsize=(10, 2.6), sharey=True, layout="constrained")
    labels = [row.label for row in rows][::-1]
    panels = (
        ("Raw lines → training data, rows/s", [row.prepare for row in rows], 0.0),
        ("Training, rows/s", [row.train for row in rows], 0.0),
        ("Test AUC (axis from .75)", [row.auc for row in rows], 0.75),
    )
    for axis, (title, values, left) in zip(axes, panels, strict=True):
        bars = axis.barh(labels, [value - left for value in values[::-1]], left=left)
        for bar, label in zip(bars, labels, strict=True):
            bar.set_color(OWN if label.startswith("criteo") else OTHER)
        told = [f"{value:.4f}" if value < 1 else f"{value / 1000:,.0f} k" for value in values[::-1]]
        axis.bar_label(bars, told, padding=4)
        axis.set_title(title, fontsize=10.5, fontweight="bold")
        axis.set_xlim(left, left + 1.25 * (max(values) - left))
        axis.xaxis.set_visible(False)
        axis.tick_params(length=0, colors=INK)
        axis.spines[:].set_visible(False)
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    draw(peers((HERE / "README.md").read_text()), TARGET)
