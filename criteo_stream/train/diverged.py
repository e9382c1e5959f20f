"""Which columns made a loss not finite."""

import torch
from torch import Tensor, nn

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.models.inputs import FieldInputs

_HUGE = 1e9
"""A weight beyond it has diverged, even where its square is still a number."""


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
