"""The model family: each equals its formula written with loops."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from criteo_stream.models import (
    FFM,
    MODELS,
    BilinearFFM,
    DeepFM,
    FiBiNET,
    FieldModel,
    ProjectedInteraction,
)
from criteo_stream.models.bilinear import BilinearMatrices
from criteo_stream.models.logistic import LinearOnly
from criteo_stream.runs.config import TrainConfig
from tests.models.test_fm import BINS, CATEGORIES, MEANS, batch

FIELDS, DIM = 5, 4

Make = Callable[..., nn.Module]
KINDS: dict[str, Make] = {
    "lr": LinearOnly,
    "ffm": FFM,
    **{
        f"bilinear-ffm {kind}{' norm' if norm else ''}": lambda *a, kind=kind, norm=norm: (
            BilinearFFM(*a, bilinear=kind, layer_norm=norm)
        )
        for kind, norm in (("all", False), ("each", True), ("each", False), ("interaction", False))
    },
    "deepfm": lambda *a: DeepFM(*a, hidden=(6, 3)),
    **{
        f"fibinet {kind} {pairs}": lambda *a, kind=kind, pairs=pairs: FiBiNET(
            *a, bilinear=kind, pairs=pairs, hidden=(6, 3)
        )
        for kind, pairs in (("all", "hadamard"), ("each", "inner"), ("interaction", "inner"))
    },
}


def model(kind: str, numeric: str = "both", n_classes: int = 1) -> FieldModel:
    torch.manual_seed(3)
    interaction = KINDS[kind](FIELDS, DIM, n_classes)
    options: Any = {"numeric": numeric, "bins": BINS, "numeric_mean": MEANS}
    made = FieldModel(2, CATEGORIES, DIM, interaction, n_classes, **options).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def explicit(made: FieldModel, numbers: Tensor, ids: Tensor) -> Tensor:
    """One row's logits by the definition."""
    classes = made.n_classes
    rows = [
        made.table.weight[made.layout.category_offsets[column] + chosen]
        for column, chosen in enumerate(ids.tolist())
    ]
    logits = made.bias.clone()
    for column, number in enumerate(numbers.tolist()):
        missing = math.isnan(number)
        row = torch.zeros_like(rows[0])
        if made.layout.bins:
            chosen = BINS if missing else min(int(number * BINS), BINS - 1)
            row = row + made.table.weight[made.layout.bin_offsets[column] + chosen]
        if made.numeric_weight is not None:
            x = made.numeric_mean[column].item() if missing else number
            row = row + x * made.numeric_weight[column]
        if made.missing_weight is not None and missing:
            logits = logits + made.missing_weight[column]
        rows.append(row)
    for row in rows:
        logits = logits + row[:classes]
    return logits + interact(made.interaction, [row[classes:] for row in rows], classes)


def interact(module: nn.Module, v: list[Tensor], classes: int) -> Tensor:
    pairs = list(itertools.combinations(range(FIELDS), 2))
    dots = torch.zeros(DIM, dtype=torch.float64)
    if isinstance(module, LinearOnly):
        return torch.zeros(classes, dtype=torch.float64)
    if isinstance(module, FFM):
        for i, j in pairs:
            dots = dots + v[i].view(DIM, FIELDS)[:, j] * v[j].view(DIM, FIELDS)[:, i]
        return summed(module.logits, dots)
    if isinstance(module, BilinearFFM):
        for i, j in pairs:
            dots = dots + (v[i] @ matrix(module.matrices, i, j)) * v[j]
        return summed(module.logits, dots)
    if isinstance(module, DeepFM):
        for i, j in pairs:
            dots = dots + v[i] * v[j]
        return summed(module.logits, dots) + perceptron(module.mlp, torch.cat(v))
    assert isinstance(module, FiBiNET)
    z = torch.stack([e.sum() / DIM for e in v])
    squeezed = (module.senet.squeeze.weight @ z).relu()
    weight = (module.senet.excite.weight @ squeezed).relu()
    inputs = []
    for matrices, vectors in (
        (module.plain, v),
        (module.weighted, [a * e for a, e in zip(weight, v, strict=True)]),
    ):
        # tril_indices' order: by the second field, then by the first.
        for i, j in sorted(pairs, key=lambda pair: pair[::-1]):
            product = (vectors[i] @ matrix(matrices, i, j)) * vectors[j]
            inputs.append(product if module.hadamard else product.sum().reshape(1))
    return perceptron(module.mlp, torch.cat(inputs))


def matrix(matrices: BilinearMatrices, i: int, j: int) -> Tensor:
    number = {"all": 0, "each": i, "interaction": j * (j - 1) // 2 + i}[matrices.kind]
    return matrices.weight[number]


def summed(logits: nn.Module, dots: Tensor) -> Tensor:
    norm, head = logits.norm, logits.head
    if isinstance(norm, nn.LayerNorm):
        centred = dots - dots.mean()
        dots = centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias
    return head.weight @ dots if isinstance(head, nn.Linear) else dots.sum().reshape(1)


def perceptron(mlp: nn.Module, x: Tensor) -> Tensor:
    linear = [m for m in mlp.modules() if isinstance(m, nn.Linear)]
    for layer in linear[:-1]:
        x = (layer.weight @ x + layer.bias).relu()
    return linear[-1].weight @ x


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("numeric", ["value", "bins", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_every_gradient_equal_the_formula(
    kind: str, numeric: str, n_classes: int
) -> None:
    made = model(kind, numeric, n_classes)
    x_num, x_cat = batch()
    logits = made(x_num, x_cat)
    assert logits.shape == ((9,) if n_classes == 1 else (9, n_classes))
    factors = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view_as(logits)
    (logits.sigmoid() * factors).sum().backward()
    found = {n: _dense(p.grad) for n, p in made.named_parameters()}

    made.zero_grad()
    made.table.sparse = False
    expected = torch.stack([explicit(made, n, c) for n, c in zip(x_num, x_cat, strict=True)])
    expected = expected.view_as(logits)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    (expected.sigmoid() * factors).sum().backward()
    for name, parameter in made.named_parameters():
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[name], wanted, rtol=1e-8, atol=1e-9, msg=name)


def _dense(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient.to_dense() if gradient.is_sparse else gradient


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_has_gradients_of_zero(kind: str) -> None:
    """Of a rank without rows."""
    made = model(kind)
    x_num, x_cat = batch()
    made(x_num[:0], x_cat[:0]).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert not _dense(parameter.grad).any()


@pytest.mark.parametrize("kind", ["ffm", "fibinet all hadamard"])
def test_a_large_batch_without_gradient_is_scored_in_parts(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model(kind)
    x_num, x_cat = batch(21)
    with torch.no_grad():
        whole = made(x_num, x_cat)
        monkeypatch.setattr("criteo_stream.models.field_model.INFERENCE_ROWS", 8)
        torch.testing.assert_close(made(x_num, x_cat), whole)


@pytest.mark.parametrize("kind", ["all", "each", "interaction"])
def test_matrices_start_as_the_factorization_machine(kind: str) -> None:
    e = torch.rand(6, FIELDS, DIM)
    fm = sum((e[:, i] * e[:, j]).sum(1) for i, j in itertools.combinations(range(FIELDS), 2))
    torch.testing.assert_close(BilinearFFM(FIELDS, DIM, bilinear=kind)(e), fm)


def test_parameters_are_as_many_as_in_the_papers() -> None:
    f, k, ids = 39, 8, 100

    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    def whole(interaction: nn.Module) -> int:
        return count(FieldModel(0, [ids], k, interaction, numeric="bins"))

    perceptron_size = f * k * 16 + 16 + 16 * 8 + 8 + 8
    assert whole(LinearOnly(f, k)) == 1 + ids
    assert whole(FFM(f, k)) == 1 + ids + ids * f * k
    assert whole(BilinearFFM(f, k, bilinear="all")) == 1 + ids + ids * k + k * k
    assert count(BilinearFFM(f, k, bilinear="each")) == f * k * k
    assert count(BilinearFFM(f, k, bilinear="interaction")) == f * (f - 1) // 2 * k * k
    assert whole(DeepFM(f, k, hidden=(16, 8))) == 1 + ids + ids * k + perceptron_size
    senet = 2 * f * (f // 3)
    for pairs, width in (("inner", f * (f - 1)), ("hadamard", f * (f - 1) * k)):
        found = count(FiBiNET(f, k, bilinear="each", pairs=pairs, hidden=(16, 8)))
        assert found == senet + 2 * f * k * k + width * 16 + 16 + 16 * 8 + 8 + 8


def test_embedding_dim_goes_by_the_model() -> None:
    dims = {name: TrainConfig(model=name).resolved(1000).embedding_dim for name in MODELS}
    assert dims == dict.fromkeys(MODELS, 16) | {"ffm": 4}
    assert TrainConfig(model="ffm", embedding_dim=3).resolved(1000).embedding_dim == 3


class Projecting(ProjectedInteraction):
    """A user's model that lets the field model do the sums."""

    def __init__(self, fields: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fields, embedding_dim, 3) / 10)

    def projection(self) -> Tensor:
        return self.weight

    def combine(self, pairs: Tensor, projected: Tensor) -> Tensor:
        return pairs.sum(1) + projected.relu().sum(1)


def test_a_projected_model_of_a_user_equals_its_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    made = FieldModel(2, CATEGORIES, DIM, Projecting(FIELDS, DIM), bins=BINS).double()
    x_num, x_cat = batch()
    summed = made(x_num, x_cat)
    monkeypatch.setattr("criteo_stream.models.field_model.is_summed", lambda ids: False)
    torch.testing.assert_close(summed, made(x_num, x_cat))


def test_a_perceptron_wider_than_the_columns_at_once() -> None:
    """Its first layer is computed in blocks."""
    torch.manual_seed(0)
    interaction = DeepFM(FIELDS, DIM, hidden=(150, 3))
    made = FieldModel(2, CATEGORIES, DIM, interaction, bins=BINS, numeric_mean=MEANS).double()
    x_num, x_cat = batch()
    expected = torch.stack([explicit(made, n, c) for n, c in zip(x_num, x_cat, strict=True)])
    torch.testing.assert_close(made(x_num, x_cat), expected.squeeze(1))
