"""The inputs of every model: 39 fields, their linear weights and vectors in one sparse table."""

import math
from collections.abc import Sequence
from typing import Final, TypedDict, Unpack, get_args

import torch
from torch import Tensor, nn

from criteo_stream.base.errors import UsageError
from criteo_stream.models.layers import table_offsets
from criteo_stream.models.protocol import ProjectedInteraction
from criteo_stream.runs.config import Numeric
from criteo_stream.sparse.interaction import field_embeddings, is_exporting
from criteo_stream.sparse.projection import field_sums
from criteo_stream.sparse.table import FusedTable

_INFERENCE_ROWS: Final = 8192
"""Rows at once without gradient: an evaluation batch has more, and pairs of fields take memory."""


class InputOptions(TypedDict, total=False):
    """How columns feed a model."""

    numeric: str
    """``value`` (x·[w | v], bias-free), ``bins`` (the id of its bin) or ``both``."""
    bins: int
    """Equal bins of [0, 1] a numeric column; another one is for missing values."""
    numeric_mean: Sequence[float] | None
    """What a missing value is imputed with, a column; default 0.5."""
    init_scale: float
    """Standard deviation of the vectors at the start; linear weights start at 0."""
    click_rate: float
    """Share of positives; a single logit starts at its log-odds."""


class FieldInputs(nn.Module):
    """The parameters that columns feed into, of all models alike.

    All ids share one table of rows [w | v], ``nn.Embedding(sparse=True)``. Missing values are
    imputed and have a weight of their own (with bins, a bin of their own, vector included).

    Args:
        d_numerical: numeric columns.
        categories: size of each categorical column's id space.
        d_embed: length of the vectors.
        n_classes: linear weights an id, and biases.
        **options: see `InputOptions`.

    Raises:
        UsageError: an unknown ``numeric``, no class, or more ids than fit 32 bits.
    """

    offsets: Tensor
    bin_offsets: Tensor
    numeric_mean: Tensor

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
        if numeric not in get_args(Numeric):
            raise UsageError(
                f"numeric is {numeric!r}, expected one of {', '.join(get_args(Numeric))}"
            )
        if n_classes < 1:
            raise UsageError(f"n_classes is {n_classes}, expected at least 1")
        self.n_classes = n_classes
        self.bins = bins if numeric != "value" else 0
        # The last bin of a column is the missing one.
        sizes = [*categories, *([bins + 1] * d_numerical if self.bins else ())]
        offsets = table_offsets(sizes)
        self.register_buffer("offsets", offsets[: len(categories)], persistent=False)
        self.register_buffer("bin_offsets", offsets[len(categories) :], persistent=False)
        means = (
            torch.full((d_numerical,), 0.5) if numeric_mean is None else torch.tensor(numeric_mean)
        )
        self.register_buffer("numeric_mean", means.float())
        self.table = FusedTable(sum(sizes), n_classes, d_embed)
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
            if rows is not None:
                nn.init.normal_(rows, std=init_scale)
                with torch.no_grad():
                    rows[:, :n_classes] = 0

    def read(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a batch feeds in.

        Args:
            x_num: float [B, d_numerical] in [0, 1], NaN for missing.
            x_cat: int [B, columns], ids local to their column.

        Returns:
            Values with the missing ones imputed and which are missing, [B, d_numerical] each, and
            rows of the table [B, columns], or with bins [B, columns + d_numerical].
        """
        missing = x_num.isnan()
        ids = x_cat + self.offsets
        if self.bins:
            bins = (x_num * self.bins).nan_to_num(0.0).to(ids.dtype).clamp_(max=self.bins - 1)
            bins = torch.where(missing, self.bins, bins)
            ids = torch.cat([ids, bins + self.bin_offsets], dim=1)
        return torch.where(missing, self.numeric_mean.to(x_num.dtype), x_num), missing, ids


class FieldModel(FieldInputs):
    """logit = w0 + Σ w_i x_i + interaction(embeddings).

    A field is a column: C1 … C26, then I1 … I13. A categorical field's embedding is the vector of
    its id; a numeric one's is x·v, the vector of its bin, or the sum of both.

    Args:
        d_numerical: numeric columns.
        categories: size of each categorical column's id space.
        d_embed: length k of the vectors.
        interaction: [B, fields, k] → logits [B], or [B, n_classes] from 2 classes on. One that
            needs several vectors an id, or none, says so with an attribute ``vectors_per_id`` m:
            it then gets [B, fields, m·k].
        n_classes: 1 gives one logit; from 2 on, as many linear weights an id.
        **options: see `InputOptions`.
    """

    def __init__(
        self,
        d_numerical: int,
        categories: Sequence[int],
        d_embed: int,
        interaction: nn.Module,
        n_classes: int = 1,
        **options: Unpack[InputOptions],
    ) -> None:
        width = d_embed * vectors_per_id(interaction)
        super().__init__(d_numerical, categories, width, n_classes, **options)
        self.fields = len(categories) + d_numerical
        self.interaction = interaction

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            x_num: float [B, d_numerical] in [0, 1], NaN for missing.
            x_cat: int [B, columns], ids local to their column.

        Returns:
            [B], or [B, n_classes] from 2 classes on.
        """
        in_parts = not (torch.is_grad_enabled() or is_exporting())
        if in_parts and len(x_num) > _INFERENCE_ROWS:
            starts = range(0, len(x_num), _INFERENCE_ROWS)
            parts = [slice(start, start + _INFERENCE_ROWS) for start in starts]
            return torch.cat([self(x_num[part], x_cat[part]) for part in parts])
        values, missing, ids = self.read(x_num, x_cat)
        linear, interaction = self._terms(values, ids)
        logits: Tensor = self.bias + linear
        if self.missing_weight is not None:
            logits = logits + missing.to(values.dtype) @ self.missing_weight
        if self.n_classes == 1:
            logits = logits.squeeze(1)
        return logits + interaction

    def _terms(self, values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Σ of the linear weights [B, n_classes], and the interaction."""
        inner = self.interaction
        if isinstance(inner, ProjectedInteraction) and _is_summed(ids):
            sums = field_sums(
                self.table.weight,
                ids,
                self.n_classes,
                inner.projection(),
                self.numeric_weight,
                values,
            )
            pairs = (sums.vectors.square() - sums.squares) / 2
            return sums.linear, inner.combine(pairs, sums.projected)
        linear, embeddings = field_embeddings(
            self.table.weight, ids, self.n_classes, self.fields, self.numeric_weight, values
        )
        return linear, inner(embeddings)


def _is_summed(ids: Tensor) -> bool:
    """Whether sums of distinct ids are to be had, and are faster than all vectors."""
    return not is_exporting() and ids.device.type == "cpu" and len(ids) > 0


def vectors_per_id(interaction: nn.Module) -> int:
    """How many vectors of an id an interaction needs; 1 unless it says otherwise."""
    count = getattr(interaction, "vectors_per_id", 1)
    assert isinstance(count, int)
    return count
