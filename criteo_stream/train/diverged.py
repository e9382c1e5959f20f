"""Whether a run has gone wrong: losses that are no number, or figures worse than no model's."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.models.inputs import FieldInputs
from criteo_stream.runs.config import ResolvedConfig
from criteo_stream.runs.history import HistoryLine

_HUGE = 1e9
"""A weight beyond it has diverged, even where its square is still a number."""
_RISE: Final = 1.05
"""A log loss that ends so much above its lowest value is past what chance does."""


def is_worse_than_the_rate(line: HistoryLine) -> bool:
    """Whether the click rate alone would predict better, or the log loss is infinite."""
    infinite = line.log_loss is None and line.auc is not None
    return infinite or (line.ne is not None and line.ne > 1)


def worse_than_the_rate(line: HistoryLine, config: ResolvedConfig) -> str:
    """What to say of such an evaluation."""
    ne = "infinite" if line.ne is None else f"{line.ne:.4g}"
    return (
        f"predicting the click rate for every row would be better (normalized entropy {ne}, more "
        f"than 1): training has diverged or has just begun; if it stays so, lower --learning-rate "
        f"(now {config.learning_rate:g})"
    )


def verdict(history: Sequence[HistoryLine], config: ResolvedConfig) -> str | None:
    """What a person must know of a finished run whose figures are bad; None where they are not."""
    if not history:
        return None
    last = history[-1]
    if is_worse_than_the_rate(last):
        ne = "infinite" if last.ne is None else f"{last.ne:.4g}"
        return (
            "the model predicts worse than the click rate alone (normalized entropy "
            f"{ne} at the end, more than 1): it has diverged or learned nothing; train a new run "
            f"with a lower --learning-rate (now {config.learning_rate:g})"
        )
    losses = [line.log_loss for line in history if line.log_loss is not None]
    if losses and (end := last.log_loss) is not None and end > _RISE * min(losses):
        return (
            f"the valid log loss rose from {min(losses):.5f} to {end:.5f} by the end: train a new "
            f"run with a lower --learning-rate (now {config.learning_rate:g}), fewer --epochs "
            f"(now {config.epochs}) or a higher --l2-embedding (now {config.l2_embedding:g})"
        )
    return None


def offending_columns(model: nn.Module, numeric: Tensor) -> list[str]:
    """Columns whose input is not finite, or whose weights have diverged: I1 … I13, C1 … C26.

    Args:
        model: one whose inputs are `FieldInputs`.
        numeric: the batch's numeric inputs [B, 13], NaN for missing.
    """
    found = {c for i, c in enumerate(INTEGER_COLUMNS) if bool(numeric[:, i].isinf().any())}
    if isinstance(model, FieldInputs):
        found |= set(model.layout.fields_of_rows(_diverged_rows(model.table.weight)))
        for weight in (model.numeric_weight, model.missing_weight):
            if weight is not None:
                found |= {INTEGER_COLUMNS[i] for i in _diverged_rows(weight).tolist()}
    return [c for c in (*INTEGER_COLUMNS, *CATEGORICAL_COLUMNS) if c in found]


def all_finite(model: nn.Module) -> bool:
    """Whether every weight is a finite number; takes no memory beside them."""
    sums = [p.detach().sum() for p in model.parameters()]
    return bool(torch.stack(sums).isfinite().all())


def _diverged_rows(weight: Tensor) -> Tensor:
    """int64, on the CPU: rows of a weight [n, d] with a value that is huge or no number."""
    weight = weight.detach()
    largest = torch.maximum(weight.amax(1), -weight.amin(1))  # |weight| would copy the table
    return (~(largest < _HUGE)).nonzero().squeeze(1).cpu()
