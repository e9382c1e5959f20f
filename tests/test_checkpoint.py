"""Checkpoints: what is saved comes back, damage is found and named, the one before is used."""

import json
import os
from pathlib import Path

import pytest
import torch

from criteo_stream.checkpoint import Checkpoint, CheckpointFolder, read_checkpoint
from criteo_stream.errors import OutputError, RunError


def example(step: int) -> Checkpoint:
    tensors = {"w": torch.full((3, 2), float(step)), "n": torch.tensor(step), "e": torch.empty(0)}
    return Checkpoint(tensors, {"step": step, "loss": 0.1 + step, "none": None})


def saved(folder: Path, *steps: int, best: int | None = None, keep: int = 2) -> CheckpointFolder:
    checkpoints = CheckpointFolder(folder, keep=keep)
    for step in steps:
        checkpoints.save(step, example(step), best=step == best)
    return checkpoints


def test_what_is_saved_comes_back_exactly(tmp_path: Path) -> None:
    loaded = saved(tmp_path, 7).load_latest()
    assert loaded is not None
    assert loaded.state == example(7).state
    assert loaded.tensors.keys() == example(7).tensors.keys()
    assert all(torch.equal(t, loaded.tensors[n]) for n, t in example(7).tensors.items())


def test_nothing_saved_is_no_error(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "none").load_latest() is None


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 3, 4, best=1)
    assert [p.name for p in checkpoints.steps()] == [f"step-{s:010d}" for s in (1, 3, 4)]
    assert checkpoints.load_best().state["step"] == 1
    assert os.readlink(tmp_path / "last") == "step-0000000004"


def test_the_same_step_can_be_saved_again(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5)
    checkpoints.save(5, Checkpoint({"w": torch.ones(1)}, {"step": 5, "again": True}), best=True)
    assert checkpoints.load_best().state["again"]


def damage_truncated(path: Path) -> None:
    tensors = path / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])


def damage_flipped(path: Path) -> None:
    tensors = path / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-2] ^= 1
    tensors.write_bytes(content)


def damage_missing(path: Path) -> None:
    (path / "tensors.safetensors").unlink()


def damage_state(path: Path) -> None:
    state = path / "state.json"
    state.write_text(state.read_text().replace('"step": 2', '"step": 3'))


def damage_not_json(path: Path) -> None:
    (path / "state.json").write_text("{")


@pytest.mark.parametrize(
    "damage",
    [damage_truncated, damage_flipped, damage_missing, damage_state, damage_not_json],
)
def test_a_damaged_newest_falls_back_with_a_warning(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    warnings: list[str] = []
    saved(tmp_path, 1, 2)
    damage(tmp_path / "step-0000000002")
    loaded = CheckpointFolder(tmp_path, warn=warnings.append).load_latest()
    assert loaded is not None
    assert loaded.state["step"] == 1
    assert len(warnings) == 1
    assert "step-0000000002" in warnings[0]
    assert "falling back" in warnings[0]


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    damage_flipped(tmp_path / "step-0000000001")
    with pytest.raises(RunError, match="every checkpoint in .* is damaged"):
        checkpoints.load_latest()


def test_another_version_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    state = tmp_path / "step-0000000001" / "state.json"
    raw = json.loads(state.read_text())
    state.write_text(json.dumps(raw | {"version": 99}))
    with pytest.raises(RunError, match="checkpoint version 99"):
        read_checkpoint(state.parent)


def test_a_best_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path / "run", 1)
    (tmp_path / "run" / "best").symlink_to("../elsewhere")
    with pytest.raises(RunError, match="points outside"):
        checkpoints.load_best()


def test_a_save_that_fails_leaves_the_previous_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = saved(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("criteo_stream.checkpoint.save_file", full)
    with pytest.raises(OutputError, match="disk is full"):
        checkpoints.save(2, example(2), best=True)
    assert [p.name for p in tmp_path.iterdir() if not p.is_symlink()] == ["step-0000000001"]
    loaded = checkpoints.load_latest()
    assert loaded is not None
    assert loaded.state["step"] == 1
