"""Exported models score as `predict` does, wherever they are loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from criteo_stream import __version__
from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.manifest import Manifest
from criteo_stream.models.registry import MODELS
from criteo_stream.predict.export import export_run
from criteo_stream.predict.restore import load_run
from tests.support.training import fit

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def rows(data: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    (numeric, categorical), _ = next(iter(CriteoDataset(data, "test", count, shuffle=False)))
    numeric[0] = torch.nan
    return numeric, categorical


def expected(run: Path, numeric: torch.Tensor, categorical: torch.Tensor) -> np.ndarray:
    model = load_run(run).model.eval()
    with torch.no_grad():
        return model(numeric, categorical).sigmoid().numpy()


CASES: list[dict[str, Any]] = [{"model": name} for name in MODELS] + [
    {"numeric": "value"},
    {"numeric": "bins"},
    {"model": "deepfm", "numeric": "value"},
    {"model": "bilinear-ffm", "bilinear": "interaction", "layer_norm": True},
    {"model": "fibinet", "pairs": "hadamard"},
]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_graphs_give_the_model_s_probabilities(
    data: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    fit(data, tmp_path / "run", learning_rate=0.1, init_scale=0.3, **options)
    figures = export_run(tmp_path / "run", "onnx", tmp_path / "onnx")
    assert figures.checked
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    export_run(tmp_path / "run", "torch", tmp_path / "torch")
    program = torch.export.load(tmp_path / "torch" / "model.pt2").module()
    for count in (1, 7, 120):
        numeric, categorical = rows(data, count)
        wanted = expected(tmp_path / "run", numeric, categorical)
        assert wanted.shape == (count,)
        inputs = {"numeric": numeric.numpy(), "categorical": categorical.numpy()}
        (found,) = session.run(["probability"], inputs)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        with torch.no_grad():
            found = program(numeric, categorical).numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_an_onnx_file_says_what_it_is_and_takes(data: Path, tmp_path: Path, model: str) -> None:
    fit(data, tmp_path / "run", model=model)
    export_run(tmp_path / "run", "onnx", tmp_path / "out")
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    found = load_run(tmp_path / "run")
    assert session.get_modelmeta().custom_metadata_map == {
        "model": model,
        "step": str(found.step),
        "data_fingerprint": Manifest.read(data).fingerprint,
        "fit_fingerprint": Manifest.read(data).fit_fingerprint,
        "package_version": __version__,
    }
    shapes = {i.name: (i.type, i.shape) for i in (*session.get_inputs(), *session.get_outputs())}
    assert shapes == {
        "numeric": ("tensor(float)", ["rows", 13]),
        "categorical": ("tensor(int32)", ["rows", 26]),
        "probability": ("tensor(float)", ["rows"]),
    }


def test_weights_beside_an_onnx_file_are_kept_beside_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("criteo_stream.predict.graph._INSIDE_BYTES", 0)
    fit(data, tmp_path / "run")
    assert export_run(tmp_path / "run", "onnx", tmp_path / "out").checked
    assert (tmp_path / "out" / "model.onnx.data").exists()


def test_safetensors_hold_the_weights_by_name(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "run")
    export_run(tmp_path / "run", "safetensors", tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    weights = load_run(tmp_path / "run").model.state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    index = json.loads((tmp_path / "out" / "model.json").read_text())
    assert index["file"] == "model.safetensors"
    assert index["options"]["embedding_dim"] == 4
    assert len(index["offsets"]) == 26


def test_a_folder_with_something_else_is_left_alone(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(OutputError, match=r"holds something other than an export \(file\)"):
        export_run(tmp_path / "run", "safetensors", tmp_path / "mine")
    with pytest.raises(UsageError, match=r"--format onx is not known: use onnx"):
        export_run(tmp_path / "run", "onx", tmp_path / "out")
    export_run(tmp_path / "run", "torch", tmp_path / "out")
    export_run(tmp_path / "run", "safetensors", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model.json", "model.safetensors"}
