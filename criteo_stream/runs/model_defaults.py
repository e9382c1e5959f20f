"""What open options of training become, by model."""

from typing import Final, NamedTuple


class ModelDefaults(NamedTuple):
    """Values of open options, by model."""

    embedding_dim: int = 16
    init_scale: float = 0.01
    epsilon: float = 1e-4
    l2_total: float = 300
    """L2 coefficient of the vectors times the number of training rows."""


_DEFAULTS: Final = ModelDefaults()
_DEFAULTS_OF: Final = {
    # As many vectors per id as there are fields, each in one pair only: their gradients are small.
    "ffm": ModelDefaults(embedding_dim=4, init_scale=0.03, epsilon=1e-5, l2_total=100),
}


def defaults_of(model: str) -> ModelDefaults:
    """The values of a model."""
    return _DEFAULTS_OF.get(model, _DEFAULTS)
