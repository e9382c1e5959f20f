"""The factorization machine (Rendle 2010) over Criteo's numeric and categorical columns."""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from criteo_stream.models.inputs import FieldInputs, InputOptions
from criteo_stream.models.layers import FMLayer
from criteo_stream.sparse.lookups import embedding_lookup, embedding_sums
from criteo_stream.sparse.table import table_zeros


class FM(FieldInputs):
    """logit = w0 + Σ w_i x_i + ½ Σ_f [(Σ v_if x_i)² − Σ (v_if x_i)²], in O(nk).

    With ``both``, a numeric column's value and its bin are two inputs, each with its own row.

    Train it with `optimizer`, which knows the table's sparse gradient. ``sparse=False`` gives it a
    dense one, for ``torch.optim.Adam(model.parameters())`` and others.

    Args:
        d_numerical: numeric columns; None or 0 for none.
        categories: size of each categorical column's id space; None for no such column.
        d_embed: length k of the vectors.
        n_classes: 1 gives one logit; from 2 on, the unreduced interaction [B, k] feeds a linear
            head of as many outputs, beside as many linear weights per id.
        **options: see `InputOptions`.

    Raises:
        UsageError: no column, an unknown ``numeric``, no class, or more ids than fit 32 bits.
    """

    scratch: Tensor

    def __init__(
        self,
        d_numerical: int | None,
        categories: Sequence[int] | None,
        d_embed: int,
        n_classes: int = 1,
        **options: Unpack[InputOptions],
    ) -> None:
        # Before the table: a seed's first weights go by the order in which they are drawn.
        head = nn.Linear(d_embed, n_classes, bias=False) if n_classes > 1 else None
        super().__init__(d_numerical, categories, d_embed, n_classes, **options)
        self.head = head
        self.register_buffer("scratch", table_zeros(len(self.table.weight), 1), persistent=False)
        self._pairs = FMLayer(reduce_sum=False)

    def forward(self, x_num: Tensor | None, x_cat: Tensor | None) -> Tensor:
        """Logits of a batch.

        Args:
            x_num: float [B, d_numerical] in [0, 1], NaN for missing; None without such columns.
            x_cat: int [B, columns], ids local to their column; None without such columns.

        Returns:
            [B], or [B, n_classes] from 2 classes on.

        Raises:
            UsageError: an input is missing, or of another shape or type, or an id is out of range.
        """
        values, missing, ids = self.read(x_num, x_cat)
        if self.n_classes > 1:
            return self._class_logits(values, missing, ids)
        sums, squares = embedding_sums(
            self.table.lookup_weight, ids, self.scratch, ascending_columns=True
        )
        logits: Tensor = self.bias
        if self.numeric_weight is not None:
            sums = sums + values @ self.numeric_weight
            squares = squares + values.square() @ self.numeric_weight[:, 1:].square().sum(1)
        if self.missing_weight is not None:
            logits = logits + missing.to(values.dtype) @ self.missing_weight.squeeze(1)
        return logits + sums[:, 0] + (sums[:, 1:].square().sum(1) - squares) / 2

    def _class_logits(self, values: Tensor, missing: Tensor, ids: Tensor) -> Tensor:
        assert self.head is not None
        rows = embedding_lookup(self.table.lookup_weight, ids)
        if self.numeric_weight is not None:
            rows = torch.cat([rows, values.unsqueeze(-1) * self.numeric_weight], dim=1)
        logits = self.bias + rows[..., : self.n_classes].sum(1)
        if self.missing_weight is not None:
            logits = logits + missing.to(values.dtype) @ self.missing_weight
        pairs: Tensor = self.head(self._pairs(rows[..., self.n_classes :]))
        return logits + pairs
