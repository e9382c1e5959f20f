"""What loggers send of a run, and the note in its folder that tells where they sent it."""

from pathlib import Path
from typing import Final

from criteo_stream.base.errors import RunError
from criteo_stream.base.records import RecordError, parse_json
from criteo_stream.base.storage import read_bytes
from criteo_stream.metrics.figures import FIGURES, DetailedEvaluation
from criteo_stream.runs.history import HistoryLine
from criteo_stream.train.callbacks import RunStart

_NOT_CURVES: Final = ("epoch", "step", "rows")


def curves(line: HistoryLine) -> dict[str, float]:
    """Figures of an evaluation by name; those that are undefined are left out."""
    return {
        name: float(value)
        for name, value in line.to_dict().items()
        if name not in _NOT_CURVES and isinstance(value, int | float)
    }


def split_figures(split: str, evaluation: DetailedEvaluation) -> dict[str, float]:
    """Figures of the best weights on a split, by names such as ``test_auc``."""
    found = {f"{split}_{name}": getattr(evaluation, name) for name in FIGURES}
    return {name: value for name, value in found.items() if value is not None}


def best_figures(line: HistoryLine) -> dict[str, float]:
    """Figures of the best evaluation, by names such as ``best_auc``."""
    found = {f"best_{name}": getattr(line, name) for name in (*FIGURES, "step")}
    return {name: value for name, value in found.items() if value is not None}


def parameters(start: RunStart) -> dict[str, object]:
    """The options of a run and what it is trained on."""
    return {**start.config.to_dict(), "data": str(start.data), "data_fingerprint": (
        start.data_fingerprint
    )}  # fmt: skip


def read_note(path: Path) -> dict[str, object]:
    """The note of a logger; empty where there is none yet.

    Raises:
        RunError: it is damaged.
    """
    try:
        found = parse_json(read_bytes(path))
    except FileNotFoundError:
        return {}
    except (RecordError, OSError) as error:
        raise RunError(f"{path} cannot be read ({error}): remove it to log as a new run") from None
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged: remove it to log as a new run")
    return found
