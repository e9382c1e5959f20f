"""Models by name and users' own: refused in words, or trained, resumed and evaluated."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.base.errors import RunError, UsageError
from criteo_stream.data.manifest import Manifest
from criteo_stream.models import build_model, check_model
from criteo_stream.models.registry import MODELS
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.model_names import MODEL_NAMES
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
        (
            {"model": "tests.models.test_registry:Pairwize"},
            r"'Pairwize' \(did you mean Pairwise\?\)",
        ),
        ({"model": "tests.models.test_registry:fit"}, "has no torch.nn.Module class 'fit'$"),
        (
            {"model": "tests.models.test_registry:Greedy"},
            "argument 'width' is not one that can be given",
        ),
        ({"model": "tests.models.test_registry:Column"}, r"makes \[2, 1\], expected \[2\]"),
        (
            {"model": "tests.models.test_registry:Broken"},
            "'embedding_dim': 16}: RuntimeError: mat1",
        ),
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


def test_names_that_are_known_without_pytorch_are_all_names() -> None:
    assert tuple(MODELS) == MODEL_NAMES


def test_a_mistaken_model_leaves_no_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean ffm"):
        fit(data, tmp_path / "run", model="ffmm")
    assert not (tmp_path / "run").exists()
    fit(data, tmp_path / "run", model="ffm")
    with pytest.raises(RunError, match="begun with --model ffm, now with --model lr"):
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
        {"model": "tests.models.test_registry:Pairwise", "hidden": "8", "numeric": "bins"},
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
    (code,) = re.findall(r"```python\n(# mymodels.py.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 20
    Path("mymodels.py").write_text(code)
    (name,) = re.findall(r"--model (mymodels:\w+)", text)
    result = fit(data, tmp_path / "run", model=name)
    assert result.finished
    assert trainer(data, tmp_path / "run", model=name).evaluate("test").auc is not None
    assert "interaction.cross.weight" in weights(tmp_path / "run")


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_a_run_s_model_leaves_the_check_of_ids_to_the_shards(data: Path, name: str) -> None:
    manifest = Manifest.read(data)
    model: Any = build_model(TrainConfig(model=name).resolved(manifest.rows["train"]), manifest)
    assert not model.validate_ids


def test_two_ranks_give_the_weights_of_one(data: Path, tmp_path: Path) -> None:
    plan = {"model": "deepfm", "epochs": 2, "hidden": "8,4"}
    command = ["train", str(data), "--out", str(tmp_path / "two"), *as_flags(**plan)]
    running = start(command, tmp_path, ranks=2)
    assert running.wait() == [0, 0], running.text()
    fit(data, tmp_path / "one", **plan)
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-5
