"""Layers with the names and shapes of the factorization machine literature, each usable alone."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from criteo_stream.models.batches import check_ids
from criteo_stream.models.field_table import FieldLayout, FieldTable
from criteo_stream.sparse.lookups import embedding_lookup


class NumEmbedding(nn.Module):
    """A bias-free linear embedding of each numeric column: x·v.

    Args:
        n: number of columns.
        d_in: values per column; 1 for a plain number.
        d_out: length of the embedding.
    """

    def __init__(self, n: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, d_in, d_out))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, d_in] → [B, n, d_out]."""
        return (x.unsqueeze(-1) * self.weight).sum(-2)


class CatEmbedding(nn.Module):
    """Embeddings of categorical columns in one table.

    Args:
        categories: size of each column's id space.
        d_embed: length of the embedding.
        sparse: give the table a sparse, coalesced gradient, for ``torch.optim.SparseAdam``. By
            default it is dense, as ``nn.Embedding``'s, for any optimizer.
    """

    def __init__(self, categories: Sequence[int], d_embed: int, *, sparse: bool = False) -> None:
        super().__init__()
        self.table = FieldTable(FieldLayout(tuple(categories)), 0, d_embed, sparse=sparse)
        nn.init.normal_(self.table.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Ids of each column, int [B, n] → [B, n, d_embed].

        Raises:
            UsageError: an id is out of its column's range.
        """
        table = self.table
        check_ids(x, table.category_sizes, table.layout.categories)
        return embedding_lookup(table.lookup_weight, x + table.category_offsets)


class CatLinear(nn.Module):
    """A linear function of one-hot categorical columns: Σ of a row of weights per id.

    Args:
        categories: size of each column's id space.
        d_out: outputs.
        sparse: as in `CatEmbedding`.
    """

    def __init__(self, categories: Sequence[int], d_out: int, *, sparse: bool = False) -> None:
        super().__init__()
        self.weights = CatEmbedding(categories, d_out, sparse=sparse)
        nn.init.zeros_(self.weights.table.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Ids of each column, int [B, n] → [B, d_out]."""
        embedded: Tensor = self.weights(x)
        return embedded.sum(1)


class FMLayer(nn.Module):
    """Pairwise interaction of embeddings in O(nk) (Rendle 2010, lemma 3.1).

    ½ [(Σ_i e_i)² − Σ_i e_i²], per dimension, or summed over them.

    Args:
        reduce_sum: whether to sum over the dimensions.
    """

    def __init__(self, reduce_sum: bool = True) -> None:
        super().__init__()
        self.reduce_sum = reduce_sum

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, k] → [B, 1], or [B, k] unreduced."""
        pairs = (x.sum(1).square() - x.square().sum(1)) / 2
        return pairs.sum(1, keepdim=True) if self.reduce_sum else pairs


class PairLogits(nn.Module):
    """Logits of an interaction that is not yet summed over its dimensions.

    Args:
        dim: dimensions k.
        n_classes: 1 gives their sum; from 2 on a linear head of as many outputs.
        layer_norm: normalise the dimensions. Their sum would be the same for every row then, so
            that one logit has a linear head, too.
    """

    def __init__(self, dim: int, n_classes: int = 1, *, layer_norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim) if layer_norm else None
        has_head = layer_norm or n_classes > 1
        self.head = nn.Linear(dim, n_classes, bias=False) if has_head else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, k] → [B], or [B, n_classes] from 2 classes on."""
        if self.head is None:
            return x.sum(1)
        logits: Tensor = self.head(x if self.norm is None else self.norm(x))
        return _one_or_more(logits)


class MLP(nn.Module):
    """A perceptron with ReLU; its logits start near 0.

    Args:
        d_in: inputs.
        hidden: sizes of the hidden layers.
        n_classes: logits per row.
    """

    def __init__(self, d_in: int, hidden: Sequence[int], n_classes: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([d_in, *hidden]):
            layer = nn.Linear(before, after)
            nn.init.zeros_(layer.bias)
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear([d_in, *hidden][-1], n_classes, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[B, d_in] → [B], or [B, n_classes] from 2 classes on."""
        return _one_or_more(self.layers(x))

    def after_first(self, products: Tensor) -> Tensor:
        """The logits of what the first layer's weight makes of x, [B, hidden[0]] without bias."""
        return _one_or_more(self.layers[1:](products + self.first.bias))

    @property
    def first(self) -> nn.Linear:
        """The first layer."""
        layer = self.layers[0]
        assert isinstance(layer, nn.Linear)
        return layer


def _one_or_more(logits: Tensor) -> Tensor:
    return logits.squeeze(1) if logits.shape[1] == 1 else logits
