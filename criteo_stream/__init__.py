"""criteo-stream: raw Criteo click logs of any size to a trained factorization machine.

The names below are the whole public surface; they load on first use, so that importing
the package starts nothing heavy.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from criteo_stream.data.dataset import CriteoDataset
    from criteo_stream.models import FM
    from criteo_stream.prepare import preprocess
    from criteo_stream.runs.curves import plot
    from criteo_stream.train.trainer import Trainer

__all__ = ["FM", "CriteoDataset", "Trainer", "__version__", "plot", "preprocess"]

_HOMES = {
    "CriteoDataset": "criteo_stream.data.dataset",
    "FM": "criteo_stream.models",
    "Trainer": "criteo_stream.train.trainer",
    "plot": "criteo_stream.runs.curves",
    "preprocess": "criteo_stream.prepare",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
