"""criteo-stream: raw Criteo click logs of any size to a trained factorization machine.

The names below are the whole public surface; they load on first use, so that importing
the package starts nothing heavy.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from criteo_stream.base.errors import (
        CriteoStreamError,
        DataSetError,
        InputError,
        OtherRankError,
        OutputError,
        RunError,
        UsageError,
    )
    from criteo_stream.daily.folder import DayRecord
    from criteo_stream.daily.loop import ProgressiveResult, progressive
    from criteo_stream.data.dataset import CriteoDataset
    from criteo_stream.data.loader import CriteoLoader
    from criteo_stream.metrics.figures import DetailedEvaluation, Difference, Evaluation
    from criteo_stream.models import (
        FM,
        CatEmbedding,
        CatLinear,
        FMLayer,
        NumEmbedding,
        ProjectedInteraction,
    )
    from criteo_stream.predict.evaluate import compare_runs, evaluate_run
    from criteo_stream.predict.export import export_run
    from criteo_stream.predict.predictor import Predictor, load
    from criteo_stream.predict.scorer import predict_run
    from criteo_stream.prepare.pipeline import preprocess
    from criteo_stream.prepare.result import PrepareResult
    from criteo_stream.report import write_report
    from criteo_stream.runs.config import TrainConfig
    from criteo_stream.runs.curves import plot
    from criteo_stream.runs.history import HistoryLine
    from criteo_stream.train.callbacks import Callback, RunStart
    from criteo_stream.train.result import TrainResult
    from criteo_stream.train.trainer import Trainer

_HOMES = {
    "base.errors": "CriteoStreamError DataSetError InputError OtherRankError OutputError RunError "
    "UsageError",
    "daily.folder": "DayRecord",
    "daily.loop": "ProgressiveResult progressive",
    "data.dataset": "CriteoDataset",
    "data.loader": "CriteoLoader",
    "metrics.figures": "DetailedEvaluation Difference Evaluation",
    "models": "FM CatEmbedding CatLinear FMLayer NumEmbedding ProjectedInteraction",
    "predict.evaluate": "compare_runs evaluate_run",
    "predict.export": "export_run",
    "predict.predictor": "Predictor load",
    "predict.scorer": "predict_run",
    "prepare.pipeline": "preprocess",
    "prepare.result": "PrepareResult",
    "report": "write_report",
    "runs.config": "TrainConfig",
    "runs.curves": "plot",
    "runs.history": "HistoryLine",
    "train.callbacks": "Callback RunStart",
    "train.result": "TrainResult",
    "train.trainer": "Trainer",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "FM",
    "Callback",
    "CatEmbedding",
    "CatLinear",
    "CriteoDataset",
    "CriteoLoader",
    "CriteoStreamError",
    "DataSetError",
    "DayRecord",
    "DetailedEvaluation",
    "Difference",
    "Evaluation",
    "FMLayer",
    "HistoryLine",
    "InputError",
    "NumEmbedding",
    "OtherRankError",
    "OutputError",
    "Predictor",
    "PrepareResult",
    "ProgressiveResult",
    "ProjectedInteraction",
    "RunError",
    "RunStart",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "UsageError",
    "__version__",
    "compare_runs",
    "evaluate_run",
    "export_run",
    "load",
    "plot",
    "predict_run",
    "preprocess",
    "progressive",
    "write_report",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"criteo_stream.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
