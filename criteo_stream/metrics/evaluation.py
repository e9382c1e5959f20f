"""The figures of an evaluation, and how they are told."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

FIGURES: Final = {
    "auc": "AUC",
    "log_loss": "log loss",
    "ne": "NE",
    "calibration": "calibration",
}
"""Figures of an evaluation, and what they are called in text."""


def figures_text(figures: Mapping[str, Any], form: str = ".6f") -> str:
    """The figures of an evaluation for a person, with intervals if any; None is undefined."""
    return ", ".join(
        f"{name} {_figure_text(figures[key], figures.get(f'{key}_interval'), form)}"
        for key, name in FIGURES.items()
        if key in figures
    )


def _figure_text(value: float | None, interval: Sequence[float] | None, form: str) -> str:
    if value is None:
        return "undefined"
    if interval is None:
        return format(value, form)
    return f"{value:{form}} (95 %: {interval[0]:{form}} to {interval[1]:{form}})"
