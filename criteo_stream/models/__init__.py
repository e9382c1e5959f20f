"""The models: ``forward(x_num, x_cat)`` gives logits; models know no trainer."""

from criteo_stream.models.bilinear import BilinearFFM
from criteo_stream.models.deepfm import DeepFM
from criteo_stream.models.ffm import FFM
from criteo_stream.models.fibinet import FiBiNET
from criteo_stream.models.field_model import FieldModel
from criteo_stream.models.fm import FM
from criteo_stream.models.layers import CatEmbedding, CatLinear, FMLayer, NumEmbedding
from criteo_stream.models.protocol import ProjectedInteraction
from criteo_stream.models.registry import MODELS, build_model, check_model, may_draw

__all__ = [
    "FFM",
    "FM",
    "MODELS",
    "BilinearFFM",
    "CatEmbedding",
    "CatLinear",
    "DeepFM",
    "FMLayer",
    "FiBiNET",
    "FieldModel",
    "NumEmbedding",
    "ProjectedInteraction",
    "build_model",
    "check_model",
    "may_draw",
]
