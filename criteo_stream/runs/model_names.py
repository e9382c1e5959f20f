"""The models of this package by name, and what their names decide, without loading PyTorch."""

from typing import Final, NamedTuple

from criteo_stream.base.errors import UsageError
from criteo_stream.base.spelling import not_known

MODEL_NAMES: Final = ("fm", "lr", "ffm", "bilinear-ffm", "deepfm", "fibinet")
"""The models of this package; `criteo_stream.models.registry` has their classes."""


class ModelDefaults(NamedTuple):
    """Values of open options, by model."""

    embedding_dim: int = 16
    init_scale: float = 0.01
    epsilon: float = 1e-4
    l2_total: float = 300
    """L2 coefficient of the vectors times the number of training rows."""
    vectors: int = 1
    """Embedding vectors of an id."""


_DEFAULTS: Final = ModelDefaults()
_DEFAULTS_OF: Final = {
    # As many vectors per id as there are fields, each in one pair only: their gradients are small.
    "ffm": ModelDefaults(embedding_dim=4, init_scale=0.03, epsilon=1e-5, l2_total=100, vectors=39),
    "lr": ModelDefaults(vectors=0),
}
_UNUSED_BY: Final = {"lr": frozenset({"embedding_dim", "init_scale", "l2_embedding"})}
"""Open options that a model has no use for: a logistic regression has no vectors."""


def defaults_of(model: str) -> ModelDefaults:
    """The values that a model's open options get."""
    return _DEFAULTS_OF.get(model, _DEFAULTS)


def uses(model: str, option: str) -> bool:
    """Whether an open option makes a difference to a model."""
    return option not in _UNUSED_BY.get(model, ())


def refuse_unknown_model(name: str) -> None:
    """Refuse what is neither the name of a model nor an import path.

    Raises:
        UsageError: it suggests the nearest name.
    """
    if name not in MODEL_NAMES and ":" not in name:
        own = ", or package.module:Class for your own"
        raise UsageError(not_known("--model", name, MODEL_NAMES, own))
