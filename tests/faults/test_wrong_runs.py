"""Runs whose checksums are right and whose content cannot be: told by name, never believed."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from criteo_stream.base.errors import CriteoStreamError, RunError
from criteo_stream.predict.evaluate import evaluate_run
from criteo_stream.report.inspection import inspect
from criteo_stream.runs.checkpoint import read_checkpoint, write_checkpoint
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.history import History, HistoryLine
from tests.support.damaged_files import flip
from tests.support.training import fit

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def sound(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("sound") / "run"
    fit(data, run, epochs=2)
    return run


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run", symlinks=True))


def rewrite(run: Path, change: Callable[[Tensors], None]) -> None:
    """Change the tensors of every checkpoint, with right checksums."""
    for path in CheckpointFolder(run / "checkpoints").steps():
        checkpoint = read_checkpoint(path)
        tensors = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
        change(tensors)
        shutil.rmtree(path)
        path.mkdir()
        write_checkpoint(path, type(checkpoint)(tensors, checkpoint.state))


def table(tensors: Tensors) -> str:
    return max((n for n in tensors if n.startswith("model.")), key=lambda n: tensors[n].numel())


def moment(tensors: Tensors) -> str:
    return next(n for n in tensors if n.endswith("exp_avg") and tensors[n].dim() == 2)


def of_integers(tensors: Tensors) -> None:
    tensors[table(tensors)] = tensors[table(tensors)].to(torch.int32)


def of_doubles(tensors: Tensors) -> None:
    tensors[table(tensors)] = tensors[table(tensors)].double()


def a_row_less(tensors: Tensors) -> None:
    tensors[table(tensors)] = tensors[table(tensors)][1:].clone()


def a_weight_less(tensors: Tensors) -> None:
    del tensors[table(tensors)]


def a_weight_more(tensors: Tensors) -> None:
    tensors["model.another"] = torch.zeros(1)


def not_finite(tensors: Tensors) -> None:
    tensors[table(tensors)][3:] = torch.nan


@pytest.mark.parametrize(
    "change", [of_integers, of_doubles, a_row_less, a_weight_less, a_weight_more, not_finite]
)
def test_weights_that_are_not_the_model_s(
    change: Callable[[Tensors], None], data: Path, run: Path
) -> None:
    rewrite(run, change)
    with pytest.raises(RunError, match=r"the weights of .* (do not fit the model|are not finite)"):
        evaluate_run(run, "valid", quiet=True)
    with pytest.raises(RunError, match=r"the weights of .* (do not fit the model|are not finite)"):
        fit(data, run, epochs=2)


@pytest.mark.parametrize("change", [of_integers, of_doubles, a_row_less, not_finite])
def test_verifying_finds_what_shows_without_the_model(
    change: Callable[[Tensors], None], run: Path
) -> None:
    assert inspect(run, verify=True).lines[-1] == "2 checkpoints checked, all sound"
    rewrite(run, change)
    with pytest.raises(RunError, match=r"step-\d+ is no checkpoint of a training"):
        inspect(run, verify=True)


def a_moment_less(tensors: Tensors) -> None:
    del tensors[moment(tensors)]


def a_moment_of_another_shape(tensors: Tensors) -> None:
    tensors[moment(tensors)] = tensors[moment(tensors)][:1].clone()


def a_moment_of_halves(tensors: Tensors) -> None:
    tensors[moment(tensors)] = tensors[moment(tensors)].half()


def a_moment_of_nothing(tensors: Tensors) -> None:
    tensors["optimizer.another.exp_avg"] = torch.zeros(1)


def no_step(tensors: Tensors) -> None:
    name = next(n for n in tensors if n.endswith(".step"))
    tensors[name] = torch.zeros_like(tensors[name])


def no_random_state(tensors: Tensors) -> None:
    del tensors["random_state"]


def another_random_state(tensors: Tensors) -> None:
    tensors["random_state"] = torch.zeros(3, dtype=torch.uint8)


@pytest.mark.parametrize(
    "change",
    [
        a_moment_less,
        a_moment_of_another_shape,
        a_moment_of_halves,
        a_moment_of_nothing,
        no_step,
        no_random_state,
        another_random_state,
    ],
)
def test_what_a_continued_run_needs(
    change: Callable[[Tensors], None], data: Path, run: Path
) -> None:
    rewrite(run, change)
    with pytest.raises(RunError, match="does not fit this run"):
        fit(data, run, epochs=2)


def test_no_flipped_bit_of_the_history_is_silent(run: Path) -> None:
    path = run / "history.jsonl"
    whole, sound = path.read_bytes(), History(path).read()
    draw = random.Random(7)
    for _ in range(400):
        path.write_bytes(whole)
        where = flip(path, draw)
        found, message = read_or_told(path)
        if message:
            assert message.startswith(f"{path}, line ")
            continue
        # What is left may only lack its end: a crash cuts it like that.
        assert found in (sound, sound[:-1]), where


def read_or_told(path: Path) -> tuple[list[HistoryLine], str]:
    try:
        return History(path).read(), ""
    except RunError as error:
        return [], str(error)


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_named(name: str, kind: str, run: Path) -> None:
    for path in CheckpointFolder(run / "checkpoints").steps():
        (path / name).unlink()
        (path / name).mkdir() if kind == "folder" else os.mkfifo(path / name)
    with pytest.raises(CriteoStreamError, match=name.replace(".", r"\.")):
        inspect(run, verify=True)
    with pytest.raises(CriteoStreamError, match=name.replace(".", r"\.")):
        evaluate_run(run, "valid", quiet=True)


@pytest.mark.parametrize("name", ["config.toml", "history.jsonl"])
def test_a_record_that_is_no_file_is_named(name: str, run: Path) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(CriteoStreamError, match=name.replace(".", r"\.")):
        inspect(run)
