"""The factorization machine (Rendle 2010) over Criteo's numeric and categorical columns."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from criteo_stream.config import NUMERIC_MODES
from criteo_stream.errors import UsageError
from criteo_stream.interaction import embedding_lookup, embedding_sums, table_zeros
from criteo_stream.models.layers import FMLayer, FusedTable, table_offsets


class FM(nn.Module):
    """logit = w0 + Σ w_i x_i + ½ Σ_f [(Σ v_if x_i)² − Σ (v_if x_i)²], in O(nk).

    All ids share one table of rows [w | v], ``nn.Embedding(sparse=True)``. A numeric column
    feeds in as its value (x·[w | v], bias-free), as the id of its bin, or as both; missing values
    are imputed and have a weight of their own (with bins, a bin of their own, vector included).

    Args:
        d_numerical: numeric columns.
        categories: size of each categorical column's id space.
        d_embed: length k of the vectors.
        n_classes: 1 gives one logit; from 2 on, the unreduced interaction [B, k] feeds a linear
            head of as many outputs, beside as many linear weights an id.
        numeric: ``value``, ``bins`` or ``both``.
        bins: equal bins of [0, 1] a numeric column.
        numeric_mean: what a missing value is imputed with, a column; default 0.5.
        init_scale: standard deviation of the vectors at the start; linear weights start at 0.
        click_rate: share of positives; a single logit starts at its log-odds.

    Raises:
        UsageError: an unknown ``numeric``, no class, or more ids than fit 32 bits.
    """

    offsets: Tensor
    bin_offsets: Tensor
    numeric_mean: Tensor
    scratch: Tensor

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
        if numeric not in NUMERIC_MODES:
            raise UsageError(f"numeric is {numeric!r}, expected one of {', '.join(NUMERIC_MODES)}")
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
        width = n_classes + d_embed
        self.table = FusedTable(sum(sizes), n_classes, d_embed)
        self.register_buffer("scratch", table_zeros(sum(sizes), 1), persistent=False)
        rate = click_rate if n_classes == 1 and 0 < click_rate < 1 else 0.5
        self.bias = nn.Parameter(torch.full((n_classes,), math.log(rate / (1 - rate))))
        self.numeric_weight = (
            nn.Parameter(torch.empty(d_numerical, width)) if numeric != "bins" else None
        )
        self.missing_weight = (
            nn.Parameter(torch.zeros(d_numerical, n_classes)) if numeric == "value" else None
        )
        self.head = nn.Linear(d_embed, n_classes, bias=False) if n_classes > 1 else None
        self._pairs = FMLayer(reduce_sum=False)
        for rows in (self.table.weight, self.numeric_weight):
            if rows is not None:
                nn.init.normal_(rows, std=init_scale)
                with torch.no_grad():
                    rows[:, :n_classes] = 0

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            x_num: float [B, d_numerical] in [0, 1], NaN for missing.
            x_cat: int [B, columns], ids local to their column.

        Returns:
            [B], or [B, n_classes] from 2 classes on.
        """
        missing = x_num.isnan()
        ids = x_cat + self.offsets
        if self.bins:
            bins = (x_num * self.bins).nan_to_num(0.0).to(ids.dtype).clamp_(max=self.bins - 1)
            bins = torch.where(missing, self.bins, bins)
            ids = torch.cat([ids, bins + self.bin_offsets], dim=1)
        values = torch.where(missing, self.numeric_mean.to(x_num.dtype), x_num)
        if self.n_classes > 1:
            return self._class_logits(values, missing, ids)
        sums, squares = embedding_sums(self.table.weight, ids, self.scratch, ascending_columns=True)
        logits: Tensor = self.bias
        if self.numeric_weight is not None:
            sums = sums + values @ self.numeric_weight
            squares = squares + values.square() @ self.numeric_weight[:, 1:].square().sum(1)
        if self.missing_weight is not None:
            logits = logits + missing.to(values.dtype) @ self.missing_weight.squeeze(1)
        return logits + sums[:, 0] + (sums[:, 1:].square().sum(1) - squares) / 2

    def _class_logits(self, values: Tensor, missing: Tensor, ids: Tensor) -> Tensor:
        assert self.head is not None
        rows = embedding_lookup(self.table.weight, ids)
        if self.numeric_weight is not None:
            rows = torch.cat([rows, values.unsqueeze(-1) * self.numeric_weight], dim=1)
        logits = self.bias + rows[..., : self.n_classes].sum(1)
        if self.missing_weight is not None:
            logits = logits + missing.to(values.dtype) @ self.missing_weight
        pairs: Tensor = self.head(self._pairs(rows[..., self.n_classes :]))
        return logits + pairs
