"""The figures of an evaluation, as a record, and how a person reads them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

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
    calibration_curve: list[CalibrationPart]
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

    def to_dict(self) -> dict[str, object]:
        """Plain values by name, as ``--json`` prints them."""
        return asdict(self)


def figures_text(record: object, form: str = ".6f") -> str:
    """The figures that a record has, for a person; with intervals if it has any.

    Args:
        record: has some of `FIGURES` as attributes, and maybe their ``…_interval``.
        form: of a figure.
    """
    return ", ".join(f"{name} {text}" for name, text in _texts(record, form).items())


def figures_table(record: object, form: str = ".6f") -> list[str]:
    """The same, a line for each figure."""
    width = max(map(len, FIGURES.values()))
    return [f"  {name:{width}}  {text}" for name, text in _texts(record, form).items()]


def _texts(record: object, form: str) -> dict[str, str]:
    return {
        name: _figure_text(getattr(record, key), getattr(record, f"{key}_interval", None), form)
        for key, name in FIGURES.items()
        if hasattr(record, key)
    }


def _figure_text(value: float | None, interval: Sequence[float] | None, form: str) -> str:
    if value is None:
        return "undefined"
    if interval is None:
        return format(value, form)
    return f"{value:{form}} (95 %: {interval[0]:{form}} to {interval[1]:{form}})"
