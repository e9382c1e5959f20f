"""The figures of an evaluation, as a record, and how a person reads them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

from criteo_stream.base.notebook import table_html
from criteo_stream.metrics.intervals import Interval
from criteo_stream.metrics.scores import CalibrationPart

FIGURES: Final = {
    "auc": "AUC",
    "log_loss": "log loss",
    "ne": "NE",
    "calibration": "calibration",
}
"""The figures by name, and what they are called in text; NE is normalized entropy."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a model predicts the rows of a split, over all ranks.

    A figure is None where it is undefined (no rows, or labels of one kind only) or infinite.
    """

    auc: float | None
    """Area under the ROC curve; 0.5 is chance."""
    log_loss: float | None
    """Mean −log p of the label that came, in nats."""
    ne: float | None
    """Normalized entropy: log loss over the entropy of the click rate (He et al. 2014)."""
    calibration: float | None
    """Clicks predicted over clicks that came; 1 is calibrated."""
    rows: int
    positives: int
    """Rows with a click."""

    def text(self) -> str:
        """The figures in one line."""
        return figures_text(self)

    def table(self) -> list[str]:
        """The figures in a line each."""
        return figures_table(self)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return _figures_html(f"{self.rows:,} rows, {self.positives:,} positives", self)

    def to_dict(self) -> dict[str, object]:
        """Plain values by name, as ``--json`` prints them."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class DetailedEvaluation(Evaluation):
    """An evaluation that also says how far to trust its figures."""

    auc_interval: Interval | None
    """95 %, by DeLong et al. 1988."""
    log_loss_interval: Interval | None
    """95 %."""
    calibration_curve: list[CalibrationPart] = field(repr=False)
    """Clicks predicted and clicks that came, by ascending score."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One model's figures less another's, on the same rows; None where undefined."""

    auc: float | None
    auc_interval: Interval | None
    """95 %, paired: it excludes 0 where the models differ by more than chance."""
    log_loss: float | None
    log_loss_interval: Interval | None
    """95 %, paired."""

    def text(self) -> str:
        """The figures in one line."""
        return figures_text(self, "+.6f")

    def table(self) -> list[str]:
        """The figures in a line each."""
        return figures_table(self, "+.6f")

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return _figures_html("difference", self, "+.6f")

    def to_dict(self) -> dict[str, object]:
        """Plain values by name, as ``--json`` prints them."""
        return asdict(self)


def figures_text(record: object, form: str = ".6f") -> str:
    """The figures that a record has, for a person; with intervals if it has any.

    Args:
        record: has some of `FIGURES` as attributes, and maybe their ``…_interval``.
        form: of a figure.
    """
    return ", ".join(f"{name} {text}" for name, text in _texts(record, form))


def figures_table(record: object, form: str = ".6f") -> list[str]:
    """The same, a line for each figure."""
    width = max(map(len, FIGURES.values()))
    return [f"  {name:{width}}  {text}" for name, text in _texts(record, form)]


def _texts(record: object, form: str) -> Iterator[tuple[str, str]]:
    """Name and text, with the interval, of each figure that a record has."""
    for name, value, interval in _formatted(record, form):
        yield name, value + (f" (95 %: {interval})" if interval else "")


def _figures_html(caption: str, record: object, form: str = ".6f") -> str:
    rows = list(_formatted(record, form))
    if any(interval for *_, interval in rows):
        return table_html(caption, rows, ("", "value", "95 %"))
    return table_html(caption, [row[:2] for row in rows])


def _formatted(record: object, form: str) -> Iterator[tuple[str, str, str]]:
    """Name, value and interval of each figure that a record has; the last may be empty."""
    for key, name in FIGURES.items():
        if hasattr(record, key):
            value = getattr(record, key)
            interval = getattr(record, f"{key}_interval", None) if value is not None else None
            ends = f"{interval[0]:{form}} to {interval[1]:{form}}" if interval else ""
            yield name, "undefined" if value is None else format(value, form), ends
