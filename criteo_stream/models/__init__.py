"""The FM family: ``forward(x_num, x_cat)`` gives logits; models know no trainer."""

from torch import nn

from criteo_stream.config import TrainConfig
from criteo_stream.errors import UsageError
from criteo_stream.manifest import Manifest
from criteo_stream.models.fm import FM
from criteo_stream.models.layers import CatEmbedding, CatLinear, FMLayer, NumEmbedding

__all__ = ["FM", "CatEmbedding", "CatLinear", "FMLayer", "NumEmbedding", "build_model"]


def build_model(config: TrainConfig, manifest: Manifest) -> nn.Module:
    """The model that a configuration asks for, sized by a data set.

    Raises:
        UsageError: no such model.
    """
    if config.model != "fm":
        raise UsageError(f"--model {config.model} is not known: use fm")
    positives = sum(shard.positives for shard in manifest.shards["train"])
    return FM(
        len(manifest.numeric),
        manifest.categories,
        config.embedding_dim,
        numeric=config.numeric,
        bins=config.bins,
        numeric_mean=[column.mean_quantile for column in manifest.numeric],
        init_scale=config.init_scale,
        click_rate=positives / max(1, manifest.rows["train"]),
    )
