"""How much each field moves a model's logit, over a sample of rows."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from criteo_stream.models import FM


@dataclass(frozen=True)
class Importance:
    """Mean magnitudes in logits, each float64 [39] in the order I1..I13, C1..C26."""

    shuffled: Tensor
    """Change of the logit when a field's values are permuted across rows; for any model."""
    linear: Tensor | None
    """What a field adds on its own; for FM."""
    interaction: Tensor | None
    """What its pairs with all other fields add together; for FM."""


@torch.no_grad()
def importance(model: nn.Module, x_num: Tensor, x_cat: Tensor) -> Importance:
    """Measure each field of a model that gives logits [B] of ``(x_num, x_cat)``.

    Args:
        model: any such module, in evaluation mode.
        x_num: float32 [B, 13] in [0, 1], NaN for missing.
        x_cat: int32 [B, 26], ids local to their column.
    """
    shuffled = shuffled_change(model, x_num, x_cat)
    if type(model) is not FM or model.n_classes > 1:
        return Importance(shuffled, None, None)
    linear, interaction = (
        part.double().abs().mean(0).cpu() for part in fm_parts(model, x_num, x_cat)
    )
    return Importance(shuffled, linear, interaction)


@torch.no_grad()
def shuffled_change(model: nn.Module, x_num: Tensor, x_cat: Tensor) -> Tensor:
    """Mean |change of the logit|, float64 [fields], when one field is permuted across rows.

    Permutation importance (Breiman 2001, "Random forests", section 10; Fisher et al. 2019), of
    the logit instead of the loss, so that it asks what the model uses, not whether that is right.
    """
    logits = model(x_num, x_cat)
    order = torch.randperm(len(x_num), generator=torch.Generator().manual_seed(0))
    changes = []
    for which, x in enumerate((x_num, x_cat)):
        for column in range(x.shape[1]):
            inputs = [x_num, x_cat]
            inputs[which] = x.clone()
            inputs[which][:, column] = x[order.to(x.device), column]
            changes.append((model(*inputs) - logits).double().abs().mean())
    return torch.stack(changes).cpu()


@torch.no_grad()
def fm_parts(model: FM, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor]:
    """What each field adds to an FM's logit, alone and together with the others.

    A field may feed in as two features, its value and its bin; their own pair is the field's alone.

    Returns:
        ``alone`` and ``pairs``, each [B, fields], with logit = bias + Σ alone + ½ Σ pairs: a pair
        of fields counts with both.
    """
    values, missing, rows = model.read(x_num, x_cat)
    looked_up = model.table.weight[rows]  # [B, 26, 1 + k], with bins [B, 39, 1 + k]
    categorical, bins = looked_up.tensor_split([x_cat.shape[1]], dim=1)
    numeric = [bins] if bins.shape[1] else []  # [B, 13, 1 + k] each
    if model.numeric_weight is not None:
        numeric.insert(0, values.unsqueeze(-1) * model.numeric_weight)
    features = torch.stack(numeric)  # [1 or 2, B, 13, 1 + k]
    fields = torch.cat([features.sum(0), categorical], dim=1)  # [B, 39, 1 + k]
    alone, vectors = fields[..., 0].clone(), fields[..., 1:]
    own = features[..., 1:].sum(0).square() - features[..., 1:].square().sum(0)
    alone[:, : x_num.shape[1]] += own.sum(-1) / 2
    if model.missing_weight is not None:
        alone[:, : x_num.shape[1]] += missing * model.missing_weight.squeeze(1)
    others = vectors.sum(1, keepdim=True) - vectors
    return alone, (vectors * others).sum(-1)
