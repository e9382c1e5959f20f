"""The options that each day trains with, where the user leaves them open."""

import math
from typing import Final

from criteo_stream.base.options import to_dict
from criteo_stream.runs.config import TrainConfig

_SHAPE: Final = ("embedding_dim", "bins", "init_scale", "epsilon")
"""Options that a run cannot change when it goes on, or should not."""
_LATER_RATE: Final = 0.5


def config_of_day(config: TrainConfig, rows_by_day: list[int]) -> TrainConfig:
    """The options of the last of some days.

    Open options are those of a run on that day alone, with three exceptions. What shapes the model
    is chosen on the first day. The penalty goes by the rows of all days, as it would in one run on
    them. The learning rate of a later day d (counted from 0) is half of a new run's, over √d: what
    is known already must not be unlearned. ``docs/quality.md`` has the figures behind them.

    Args:
        config: as the user gave it.
        rows_by_day: training rows of the days so far, at least one.
    """
    day = len(rows_by_day) - 1
    if not day:
        return config
    first, alone, together = (
        config.resolved(rows) for rows in (rows_by_day[0], rows_by_day[-1], sum(rows_by_day))
    )
    rate = alone.learning_rate * _LATER_RATE / math.sqrt(day)
    chosen = {name: getattr(first, name) for name in _SHAPE}
    chosen |= {
        "l2_embedding": together.l2_embedding,
        "learning_rate": float(f"{rate:.3g}"),
    }
    given = {name: value for name, value in to_dict(config).items() if value is not None}
    return TrainConfig(**chosen | given)
