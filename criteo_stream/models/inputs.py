"""The inputs of every model: 39 fields, their linear weights and vectors in one sparse table."""

import math
from collections.abc import Sequence
from typing import TypedDict, get_args

import torch
from torch import Tensor, nn

from criteo_stream.base.errors import UsageError
from criteo_stream.models.field_table import FieldLayout, FieldTable
from criteo_stream.runs.config import Numeric


class InputOptions(TypedDict, total=False):
    """How columns feed a model."""

    numeric: str
    """``value`` (x·[w | v], bias-free), ``bins`` (the id of its bin) or ``both``."""
    bins: int
    """Equal bins of [0, 1] per numeric column; there is another one for missing values."""
    numeric_mean: Sequence[float] | None
    """Imputed for a missing value, one number per column; default 0.5."""
    init_scale: float
    """Standard deviation of the vectors at the start; linear weights start at 0."""
    click_rate: float
    """Share of positives; a single logit starts at its log-odds."""


class FieldInputs(nn.Module):
    """The parameters that columns feed into; the same for every model.

    All ids share one table of rows [w | v], ``nn.Embedding(sparse=True)``. Missing values are
    imputed and have a weight of their own (with bins, a bin of their own, vector included).
    Batches give quantiles and ids local to their column; `read` turns them into table rows.

    Args:
        d_numerical: numeric columns.
        categories: size of each categorical column's id space.
        d_embed: length of the vectors.
        n_classes: number of linear weights per id, and of biases.
        **options: see `InputOptions`.

    Raises:
        UsageError: an unknown ``numeric``, no class, or more ids than fit 32 bits.
    """

    numeric_mean: Tensor
    """float32 [d_numerical], imputed for missing values."""

    def __init__(
        self,
        d_numerical: int,
        categories: Sequence[int],
        d_embed: int,
        n_classes: int = 1,
        *,
        numeric: str = "both",
        bins: int = 32,
        numeric_mean: Sequence[float] | None = None,
        init_scale: float = 0.01,
        click_rate: float = 0.5,
    ) -> None:
        super().__init__()
        if numeric not in (modes := get_args(Numeric)):
            raise UsageError(f"numeric is {numeric!r}, expected one of {', '.join(modes)}")
        if n_classes < 1:
            raise UsageError(f"n_classes is {n_classes}, expected at least 1")
        self.n_classes = n_classes
        layout = FieldLayout(tuple(categories), d_numerical, bins if numeric != "value" else 0)
        means = (
            torch.full((d_numerical,), 0.5) if numeric_mean is None else torch.tensor(numeric_mean)
        )
        self.register_buffer("numeric_mean", means.float())
        self.table = FieldTable(layout, n_classes, d_embed)
        rate = click_rate if n_classes == 1 and 0 < click_rate < 1 else 0.5
        self.bias = nn.Parameter(torch.full((n_classes,), math.log(rate / (1 - rate))))
        width = n_classes + d_embed
        self.numeric_weight = (
            nn.Parameter(torch.empty(d_numerical, width)) if numeric != "bins" else None
        )
        self.missing_weight = (
            nn.Parameter(torch.zeros(d_numerical, n_classes)) if numeric == "value" else None
        )
        for rows in (self.table.weight, self.numeric_weight):
            if rows is not None and not rows.is_meta:
                nn.init.normal_(rows, std=init_scale)
                with torch.no_grad():
                    rows[:, :n_classes] = 0

    @property
    def layout(self) -> FieldLayout:
        """Which rows of the table belong to which field."""
        return self.table.layout

    def read(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn a batch into what the parameters are multiplied with or looked up by.

        Args:
            x_num: float [B, d_numerical] in [0, 1], NaN for missing.
            x_cat: int [B, columns], ids local to their column.

        Returns:
            Values with the missing ones imputed, float [B, d_numerical]; which are missing, bool
            [B, d_numerical]; and rows of the table, int [B, columns], or with bins
            [B, columns + d_numerical].
        """
        missing = x_num.isnan()
        values = torch.where(missing, self.numeric_mean.to(x_num.dtype), x_num)
        return values, missing, self.table.rows_of(x_num, x_cat)

    def export_constants(self) -> dict[str, list[int] | list[float]]:
        """Constants that another program needs beside the weights to read a batch, by name.

        Returns:
            ``offsets`` and ``bin_offsets``, the first table row of each categorical and of each
            integer column, and ``numeric_mean``, imputed for missing values.
        """
        return {
            "offsets": list(self.layout.category_offsets),
            "bin_offsets": list(self.layout.bin_offsets),
            "numeric_mean": self.numeric_mean.tolist(),
        }
