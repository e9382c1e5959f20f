"""A run is data: code that it names is not run unless the user asks for it."""

import os
from pathlib import Path

import pytest

from criteo_stream.base.errors import RunError
from criteo_stream.cli import main
from criteo_stream.predict.evaluate import evaluate_run
from tests.support.training import as_flags, fit

MODEL = '''"""A model of someone else's."""
from pathlib import Path

import torch

Path(__file__).with_name("ran").touch()


class Sum(torch.nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, embeddings):
        return embeddings.sum((1, 2))
'''


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module beside the run, of a name that no other test has imported."""
    monkeypatch.chdir(tmp_path)
    name = f"theirs_{os.getpid()}_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODEL)
    return f"{name}:Sum"


@pytest.fixture
def run(data: Path, tmp_path: Path, model: str) -> Path:
    """A run whose record names the module, made without importing it."""
    out = tmp_path / "run"
    fit(data, out, model="lr")
    config = out / "config.toml"
    config.write_text(config.read_text().replace('model = "lr"', f'model = "{model}"'))
    return out


def commands(data: Path, run: Path) -> dict[str, list[str]]:
    other = run.parent / "other"
    return {
        "evaluate": ["evaluate", str(run)],
        "against": ["evaluate", str(other), "--against", str(run)],
        "predict": ["predict", str(run), str(data / "manifest.json"), "--out", "scores.csv"],
        "export": ["export", str(run), "--format", "safetensors", "--out", "exported"],
        "report": ["report", str(run), "--out", "report.html"],
        "from": ["train", str(data), "--out", "next", "--from", str(run), *as_flags()],
        "config": ["train", str(data), "--out", "next", "--config", str(run / "config.toml")],
    }


@pytest.mark.parametrize(
    "command", ["evaluate", "against", "predict", "export", "report", "from", "config"]
)
def test_a_recorded_model_is_not_imported_unasked(
    command: str, data: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "against":
        fit(data, run.parent / "other")
    with pytest.raises(SystemExit) as exit_:
        main(commands(data, run)[command])
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert "--trust-model" in error
    assert ":Sum" in error
    assert error.count("\n") == 1
    assert not (run.parent / "ran").exists()


@pytest.mark.parametrize("trusted", [True, "the path"])
def test_a_trusted_model_is_imported(
    data: Path, tmp_path: Path, model: str, trusted: object
) -> None:
    fit(data, tmp_path / "run", model=model)
    named = model if trusted == "the path" else True
    assert evaluate_run(tmp_path / "run", "valid", trust_model=named, quiet=True).rows == 150
    with pytest.raises(RunError, match="--trust-model"):
        evaluate_run(tmp_path / "run", "valid", trust_model="another:Model", quiet=True)


@pytest.mark.parametrize("inside", ["{run}.theirs:Sum", "theirs:Sum", "{run}.deep.theirs:Sum"])
def test_code_in_the_run_is_never_imported(
    inside: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A package of this name must not have been imported by another test.
    run = run.rename(run.with_name(f"run_{os.getpid()}_{abs(hash(run))}"))
    (run / "deep").mkdir()
    (run / "deep" / "theirs.py").write_text(MODEL)
    (run / "theirs.py").write_text(MODEL)
    (run / "__init__.py").write_text(MODEL)
    if not inside.startswith("{run}"):
        monkeypatch.chdir(run)
        monkeypatch.syspath_prepend(run)
    config = run / "config.toml"
    text = config.read_text()
    recorded = text.partition('model = "')[2].partition('"')[0]
    named = inside.format(run=run.name)
    config.write_text(text.replace(recorded, named))
    with pytest.raises(RunError, match="in the run's own folder"):
        evaluate_run(run, trust_model=True, quiet=True)
    assert not list(run.rglob("ran"))
