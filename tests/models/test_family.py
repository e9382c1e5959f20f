"""The model family: each equals its formula written with loops, trains, resumes and evaluates."""

import itertools
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.base.errors import RunError, UsageError
from criteo_stream.models import (
    FFM,
    MODELS,
    BilinearFFM,
    DeepFM,
    FiBiNET,
    FieldModel,
    ProjectedInteraction,
    check_model,
)
from criteo_stream.models.bilinear import BilinearMatrices
from criteo_stream.models.logistic import LinearOnly
from criteo_stream.runs.config import TrainConfig
from tests.models.test_fm import BINS, CATEGORIES, MEANS, batch
from tests.support.paths import REPOSITORY
from tests.support.processes import start
from tests.support.training import (
    Crash,
    as_flags,
    crash_after,
    farthest,
    fit,
    outcome,
    stop_after,
    trainer,
    weights,
)

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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden": "64,0"}, "--hidden is '64,0', expected sizes like 64,32"),
        ({"hidden": ""}, "--hidden is ''"),
        ({"bilinear": "pairs"}, "--bilinear pairs is not known: use all, each, interaction"),
        ({"pairs": "outer"}, "--pairs outer is not known: use inner, hadamard"),
        ({"model": "deepfn"}, r"deepfn is not known \(did you mean deepfm\?\): use fm, lr, ffm, "),
        ({"model": "xyz"}, "xyz is not known: use fm"),
        ({"model": "nowhere.at_all:M"}, "there is no module nowhere where Python looks"),
        ({"model": "torch.nowhere:M"}, r"there is no module torch.nowhere where"),
        ({"model": "tests.models.test_family:Pairwize"}, r"'Pairwize' \(did you mean Pairwise\?\)"),
        ({"model": "tests.models.test_family:model"}, "has no torch.nn.Module class 'model'$"),
        (
            {"model": "tests.models.test_family:Greedy"},
            "argument 'width' is not one that can be given",
        ),
        ({"model": "tests.models.test_family:Column"}, r"makes \[2, 1\], expected \[2\]"),
        ({"model": "tests.models.test_family:Broken"}, "'embedding_dim': 16}: RuntimeError: mat1"),
    ],
)
def test_models_and_options_that_are_not_known(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_model(TrainConfig(**values).resolved(1000))


def test_a_module_that_fails_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("needs_more.py").write_text("import nowhere_at_all\n")
    Path("mistaken.py").write_text("1 / 0\n")
    for name, message in (
        ("needs_more", "needs_more cannot be imported: No module named 'nowhere_at_all'"),
        ("mistaken", "mistaken cannot be imported: ZeroDivisionError: division by zero"),
    ):
        with pytest.raises(UsageError, match=message):
            check_model(TrainConfig(model=f"{name}:Model").resolved(1000))


class Pairwise(nn.Module):
    """A user's model: it may take options of training by their names."""

    def __init__(self, fields: int, embedding_dim: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.mix = nn.Linear(fields * embedding_dim, hidden[0])

    def forward(self, embeddings: Tensor) -> Tensor:
        return F.gelu(self.mix(embeddings.flatten(1))).sum(1)


class Greedy(Pairwise):
    def __init__(self, fields: int, width: int) -> None:
        super().__init__(fields, width, (4,))


class Column(nn.Module):
    def __init__(self, fields: int, embedding_dim: int) -> None:
        super().__init__()
        self.last = nn.Linear(fields * embedding_dim, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.last(embeddings.flatten(1))
        return logits


class Broken(Column):
    def __init__(self, fields: int, embedding_dim: int) -> None:
        super().__init__(fields + 1, embedding_dim)


def test_a_mistaken_model_leaves_no_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean ffm"):
        fit(data, tmp_path / "run", model="ffmm")
    assert not (tmp_path / "run").exists()
    fit(data, tmp_path / "run", model="ffm")
    with pytest.raises(RunError, match="begun with --model ffm, now it is lr"):
        fit(data, tmp_path / "run", model="lr")


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize(
    "plan",
    [
        {"model": "lr"},
        {"model": "ffm", "embedding_dim": None},
        {"model": "bilinear-ffm", "layer_norm": True},
        {"model": "bilinear-ffm", "bilinear": "interaction"},
        {"model": "deepfm", "hidden": "8"},
        {"model": "fibinet", "hidden": "8,4", "numeric": "value"},
        {"model": "tests.models.test_family:Pairwise", "hidden": "8", "numeric": "bins"},
    ],
    ids=lambda plan: plan["model"],
)
def test_an_interrupted_run_continues_to_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: dict[str, Any]
) -> None:
    monkeypatch.setattr("criteo_stream.train.assembly.plot_all", lambda history, folder: [])
    plan = {"epochs": 2, "checkpoint_every": 100, **plan}
    result = fit(data, tmp_path / "undisturbed", **plan)
    assert result.history[-1].train_loss < result.history[0].train_loss < 0.9
    with monkeypatch.context() as patch:
        crash_after(patch, 12)
        with pytest.raises(Crash):
            fit(data, tmp_path / "run", **plan)
    with monkeypatch.context() as patch:
        stop_after(patch, 16)
        fit(data, tmp_path / "run", **plan)
    assert fit(data, tmp_path / "run", **plan).resumed_from == 26  # 10 + 16
    assert outcome(tmp_path / "run") == outcome(tmp_path / "undisturbed")
    figures = trainer(data, tmp_path / "run", **plan).evaluate("test")
    assert figures.rows == 120
    assert figures.auc is not None


def test_the_documented_model_trains(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    text = (REPOSITORY / "docs" / "models.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 20
    Path("mymodels.py").write_text(code)
    (name,) = re.findall(r"--model (mymodels:\w+)", text)
    result = fit(data, tmp_path / "run", model=name)
    assert result.finished
    assert trainer(data, tmp_path / "run").evaluate("test").auc is not None
    assert "interaction.cross.weight" in weights(tmp_path / "run")


def test_two_ranks_give_the_weights_of_one(data: Path, tmp_path: Path) -> None:
    plan = {"model": "deepfm", "epochs": 2, "hidden": "8,4"}
    command = ["train", str(data), "--out", str(tmp_path / "two"), *as_flags(**plan)]
    running = start(command, tmp_path, ranks=2)
    assert running.wait() == [0, 0], running.text()
    fit(data, tmp_path / "one", **plan)
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-5


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
