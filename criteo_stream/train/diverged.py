"""Which columns made a loss not finite."""

import numpy as np
import torch
from torch import Tensor, nn

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.manifest import Manifest
from criteo_stream.runs.config import ResolvedConfig

_HUGE = 1e9
"""A weight beyond it has diverged, even where its square is still a number."""


def offending_columns(
    config: ResolvedConfig, manifest: Manifest, model: nn.Module, numeric: Tensor
) -> list[str]:
    """Columns whose input is not finite, or whose weights have diverged; in their order.

    Args:
        config: the run's options.
        manifest: the data set's; its sizes tell which rows of a table are whose.
        model: its sparse tables have a row an id, columns laid end to end, bins behind them, its
            ``numeric_weight`` and ``missing_weight`` a row an integer column.
        numeric: the batch's numeric inputs [B, 13], NaN for missing.
    """
    sizes = list(manifest.categories)
    names = list(CATEGORICAL_COLUMNS)
    if config.numeric != "value":
        sizes += [config.bins + 1] * len(INTEGER_COLUMNS)
        names += INTEGER_COLUMNS
    bounds = np.cumsum([0, *sizes])
    found = {c for i, c in enumerate(INTEGER_COLUMNS) if bool(numeric[:, i].isinf().any())}
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == bounds[-1]:
            rows = _diverged_rows(module.weight).numpy()
            found |= {names[i] for i in np.searchsorted(bounds, rows, side="right") - 1}
    for name, parameter in model.named_parameters():
        if name in ("numeric_weight", "missing_weight"):
            found |= {INTEGER_COLUMNS[i] for i in _diverged_rows(parameter).tolist()}
    return [c for c in (*INTEGER_COLUMNS, *CATEGORICAL_COLUMNS) if c in found]


def all_finite(model: nn.Module) -> bool:
    """Whether every weight is a finite number; takes no memory beside them."""
    sums = [p.detach().sum() for p in model.parameters()]
    return bool(torch.stack(sums).isfinite().all())


def _diverged_rows(weight: Tensor) -> Tensor:
    weight = weight.detach()
    largest = torch.maximum(weight.amax(1), -weight.amin(1))  # |weight| would copy the table
    return (~(largest < _HUGE)).nonzero().squeeze(1).cpu()
