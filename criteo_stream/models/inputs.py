"""The inputs of every model: all fields, their linear weights and vectors in one table."""

import math
from collections.abc import Sequence
from typing import TypedDict, get_args

import torch
from torch import Tensor, nn

from criteo_stream.base.errors import UsageError
from criteo_stream.models.batches import check_ids, complete_batch
from criteo_stream.models.field_table import FieldLayout, FieldTable
from criteo_stream.runs.config import Numeric
from criteo_stream.sparse.joint_adam import JointAdam


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
    sparse: bool
    """Whether the table's gradient is sparse, as `FieldInputs.optimizer` takes it. A dense one is
    as long as the table, and every optimizer takes it, such as ``torch.optim.Adam``."""
    validate_ids: bool
    """Whether `read` looks for ids out of their column's range; off where they are known."""


class FieldInputs(nn.Module):
    """The parameters that columns feed into; the same for every model.

    All ids share one table of rows [w | v], an ``nn.Embedding``. Missing values are
    imputed and have a weight of their own (with bins, a bin of their own, vector included).
    Batches give quantiles and ids local to their column; `read` turns them into table rows.

    Args:
        d_numerical: numeric columns; None or 0 for none.
        categories: size of each categorical column's id space; None for no such column.
        d_embed: length of the vectors.
        n_classes: number of linear weights per id, and of biases.
        **options: see `InputOptions`.

    Raises:
        UsageError: no column, an unknown ``numeric``, no class, or more ids than fit 32 bits.
    """

    numeric_mean: Tensor
    """float32 [d_numerical], imputed for missing values."""

    def __init__(
        self,
        d_numerical: int | None,
        categories: Sequence[int] | None,
        d_embed: int,
        n_classes: int = 1,
        *,
        numeric: str = "both",
        bins: int = 32,
        numeric_mean: Sequence[float] | None = None,
        init_scale: float = 0.01,
        click_rate: float = 0.5,
        sparse: bool = True,
        validate_ids: bool = True,
    ) -> None:
        super().__init__()
        d_numerical, categories = d_numerical or 0, categories or ()
        _refuse_sizes(d_numerical, categories, d_embed, numeric_mean)
        if numeric not in (modes := get_args(Numeric)):
            raise UsageError(f"numeric is {numeric!r}, expected one of {', '.join(modes)}")
        if n_classes < 1:
            raise UsageError(f"n_classes is {n_classes}, expected at least 1")
        self.n_classes, self.validate_ids = n_classes, validate_ids
        layout = FieldLayout(tuple(categories), d_numerical, bins if numeric != "value" else 0)
        means = (
            torch.full((d_numerical,), 0.5) if numeric_mean is None else torch.tensor(numeric_mean)
        )
        self.register_buffer("numeric_mean", means.float())
        self.table = FieldTable(layout, n_classes, d_embed, sparse=sparse)
        rate = click_rate if n_classes == 1 and 0 < click_rate < 1 else 0.5
        self.bias = nn.Parameter(torch.full((n_classes,), math.log(rate / (1 - rate))))
        width = n_classes + d_embed
        self.numeric_weight = (
            nn.Parameter(torch.empty(d_numerical, width))
            if numeric != "bins" and d_numerical
            else None
        )
        self.missing_weight = (
            nn.Parameter(torch.zeros(d_numerical, n_classes))
            if numeric == "value" and d_numerical
            else None
        )
        for rows in (self.table.weight, self.numeric_weight):
            if rows is not None and rows.numel() and not rows.is_meta:
                nn.init.normal_(rows, std=init_scale)
                with torch.no_grad():
                    rows[:, :n_classes] = 0

    @property
    def layout(self) -> FieldLayout:
        """Which rows of the table belong to which field."""
        return self.table.layout

    def optimizer(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        l2_linear: float = 0.0,
        l2_embedding: float = 0.0,
    ) -> JointAdam:
        """Adam for all parameters, which updates only those rows of the table that were looked up.

        Args:
            lr: learning rate.
            betas: decay of the running means of the gradient and of its square.
            eps: added to the denominator.
            l2_linear: L2 coefficient of the linear weights of looked-up rows.
            l2_embedding: L2 coefficient of the vectors of looked-up rows.
        """
        return JointAdam(self, lr, betas, eps, l2_linear=l2_linear, l2_embedding=l2_embedding)

    def complete(self, x_num: Tensor | None, x_cat: Tensor | None) -> tuple[Tensor, Tensor]:
        """A batch with both inputs, of the shapes that `read` takes.

        Raises:
            UsageError: an input is missing, or of another shape or type.
        """
        columns = len(self.layout.categories)
        return complete_batch(x_num, x_cat, len(self.numeric_mean), columns, self.bias.dtype)

    def read(self, x_num: Tensor | None, x_cat: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Turn a batch into what the parameters are multiplied with or looked up by.

        Args:
            x_num: float [B, d_numerical] in [0, 1], NaN for missing; None without such columns.
            x_cat: int [B, columns], ids local to their column; None without such columns.

        Returns:
            Values with the missing ones imputed, float [B, d_numerical]; which are missing, bool
            [B, d_numerical]; and rows of the table, int [B, columns], or with bins
            [B, columns + d_numerical].

        Raises:
            UsageError: an input is missing, or of another shape or type, or an id is out of range.
        """
        x_num, x_cat = self.complete(x_num, x_cat)
        if self.validate_ids:
            check_ids(x_cat, self.table.category_sizes, self.layout.categories)
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


def _refuse_sizes(
    d_numerical: int, categories: Sequence[int], d_embed: int, means: Sequence[float] | None
) -> None:
    if not d_numerical and not categories:
        raise UsageError("there is no column: give d_numerical or categories")
    if d_numerical < 0 or d_embed < 0:
        raise UsageError(f"d_numerical is {d_numerical} and d_embed {d_embed}: neither can be < 0")
    for number, size in enumerate(categories, start=1):
        if size < 1:
            raise UsageError(f"C{number} has {size} ids, expected at least 1")
    if means is not None and len(means) != d_numerical:
        raise UsageError(f"numeric_mean has {len(means)} numbers for {d_numerical} columns")
