"""TensorBoard shows the history, also of a run that was continued."""

import builtins
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from criteo_stream.base.errors import UsageError
from tests.support.training import Crash, figures, fit, trainer

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def curve(run: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars(name)]


def test_curves_are_the_history(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path, epochs=2, tensorboard=True)
    for name in ("train_loss", "auc", "learning_rate"):
        expected = [(line["rows"], pytest.approx(line[name])) for line in figures(tmp_path)]
        assert curve(tmp_path, name) == expected


def test_what_is_done_again_is_shown_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from criteo_stream.runs.checkpoint_folder import CheckpointFolder

    save, calls = CheckpointFolder.save, []

    def crashing(self: CheckpointFolder, *args: Any, **kwargs: Any) -> Path:
        calls.append(1)
        if len(calls) == 2:
            raise Crash  # the second evaluation is in the history, its checkpoint is not
        return save(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "save", crashing)
        with pytest.raises(Crash):
            fit(data, tmp_path, epochs=3, tensorboard=True)
    fit(data, tmp_path, epochs=3, tensorboard=True)
    expected = [(line["rows"], pytest.approx(line["auc"])) for line in figures(tmp_path)]
    assert len(expected) == 3
    assert curve(tmp_path, "auc") == expected


def test_without_tensorboard_it_says_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "torch.utils.tensorboard":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"pip install 'criteo-stream\[tensorboard\]'"):
        trainer(data, tmp_path, tensorboard=True).fit()
