"""The frame around an interaction: linear terms, bias and vectors are given, it adds the rest."""

from collections.abc import Sequence
from typing import Final, Unpack

import torch
from torch import Tensor, nn

from criteo_stream.models.inputs import FieldInputs, InputOptions
from criteo_stream.models.protocol import ProjectedInteraction, vectors_per_id
from criteo_stream.sparse.deferred import runs_fused
from criteo_stream.sparse.graph_export import is_exporting
from criteo_stream.sparse.lookups import field_embeddings
from criteo_stream.sparse.projection import field_sums

INFERENCE_ROWS: Final = 8192
"""Rows at once without gradient: an evaluation batch has more, and pairs of fields take memory."""


class FieldModel(FieldInputs):
    """logit = w0 + Σ w_i x_i + interaction(embeddings).

    A field is a column: C1 … C26, then I1 … I13. A categorical field's embedding is the vector of
    its id; a numeric one's is x·v, the vector of its bin, or the sum of both.

    Args:
        d_numerical: numeric columns; None or 0 for none.
        categories: size of each categorical column's id space; None for no such column.
        d_embed: length k of the vectors.
        interaction: [B, fields, k] → logits [B], or [B, n_classes] from 2 classes on. One that
            needs several vectors per id, or none, says so with an attribute ``vectors_per_id`` m:
            it then gets [B, fields, m·k]. See `protocol`.
        n_classes: 1 gives one logit; from 2 on, each id has as many linear weights.
        **options: see `InputOptions`.
    """

    def __init__(
        self,
        d_numerical: int | None,
        categories: Sequence[int] | None,
        d_embed: int,
        interaction: nn.Module,
        n_classes: int = 1,
        **options: Unpack[InputOptions],
    ) -> None:
        width = d_embed * vectors_per_id(interaction)
        super().__init__(d_numerical, categories, width, n_classes, **options)
        self._fields = len(self.layout.fields)
        self.interaction = interaction

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
        x_num, x_cat = self.complete(x_num, x_cat)
        in_parts = not (torch.is_grad_enabled() or is_exporting())
        if in_parts and len(x_num) > INFERENCE_ROWS:
            starts = range(0, len(x_num), INFERENCE_ROWS)
            parts = [slice(start, start + INFERENCE_ROWS) for start in starts]
            return torch.cat([self(x_num[part], x_cat[part]) for part in parts])
        values, missing, rows = self.read(x_num, x_cat)
        linear, interaction = self._terms(values, rows)
        logits: Tensor = self.bias + linear  # [B, n_classes]
        if self.missing_weight is not None:
            logits = logits + missing.to(values.dtype) @ self.missing_weight
        if self.n_classes == 1:
            logits = logits.squeeze(1)  # [B], as the interaction
        return logits + interaction

    def _terms(self, values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Σ of the linear weights [B, n_classes], and the interaction's logits."""
        inner = self.interaction
        weight = self.table.lookup_weight
        summed = is_summed(rows) and not runs_fused(weight)
        if isinstance(inner, ProjectedInteraction) and summed:
            sums = field_sums(
                weight,
                rows,
                self.n_classes,
                inner.projection(),
                self.numeric_weight,
                values,
            )
            pairs = (sums.vectors.square() - sums.squares) / 2  # [B, k]
            return sums.linear, inner.combine(pairs, sums.projected)
        linear, embeddings = field_embeddings(
            weight, rows, self.n_classes, self._fields, self.numeric_weight, values
        )
        return linear, inner(embeddings)


def is_summed(rows: Tensor) -> bool:
    """Whether sums over distinct rows can be had, and are faster than all vectors."""
    return not is_exporting() and rows.device.type == "cpu" and len(rows) > 0
