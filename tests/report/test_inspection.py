"""What `inspect` tells of a run: its options, and parameters that are such."""

import math
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.predict.restore import load_run
from criteo_stream.report.inspection import inspect
from tests.support.training import fit

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.mark.parametrize(
    ("options", "others", "fixed"),
    [
        ({"lanes": 16}, [], ["numeric_mean"]),
        (
            {"model": "bilinear-ffm", "layer_norm": True, "lanes": 4, "seed": 7},
            ["--layer-norm", "--lanes 4"],
            ["numeric_mean"],
        ),
    ],
)
def test_a_run_tells_its_options_and_counts_parameters_alone(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    others: list[str],
    fixed: list[str],
) -> None:
    monkeypatch.setattr("criteo_stream.train.assembly.plot_all", lambda history, folder: [])
    run = tmp_path / "run"
    fit(data, run, epochs=1, **options)
    found = inspect(run)
    model = load_run(run).model
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    shown: Any = found.figures["parameters"]
    assert {layer["layer"]: layer["parameters"] for layer in shown} == sizes
    assert all(math.prod(layer["shape"]) == layer["parameters"] for layer in shown)
    (total,) = (line for line in found.lines if line.startswith("total"))
    assert total.split()[1] == f"{sum(sizes.values()):,}"
    not_trained: Any = found.figures["not_trained"]
    assert [buffer["layer"] for buffer in not_trained] == fixed
    assert set(fixed) <= {name for name, _ in model.named_buffers()}
    assert found.lines[-1] == f"not trained: {fixed[0]} (13 values)"
    whole = "\n".join(found.lines).replace("\n  ", " ")
    (main,) = (line for line in whole.split("\n") if line.startswith("options: "))
    for name in ("embedding-dim", "epochs 1", "batch-size", "learning-rate", "l2-embedding"):
        assert f"--{name} " in f"{main} ".replace(",", " ")
    assert f"--seed {options.get('seed', 0)}" in main
    line = [line for line in whole.split("\n") if line.startswith("other than by default: ")]
    assert line == ([f"other than by default: {', '.join(others)}"] if others else [])
    assert found.figures["options"]["epochs"] == 1  # type: ignore[index]
