"""Checkpoints: what is saved comes back, damage is found and named, the one before is used."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from criteo_stream.base.errors import OutputError, RunError
from criteo_stream.base.storage import file_crc32
from criteo_stream.runs.checkpoint import (
    Checkpoint,
    describe_checkpoint,
    read_checkpoint,
    state_crc32,
)
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.tensorfile import write_tensors


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
    assert (tmp_path / "last").readlink().name == "step-0000000004"


def test_the_same_step_can_be_saved_again(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5)
    checkpoints.save(5, Checkpoint({"w": torch.ones(1)}, {"step": 5, "again": True}), best=True)
    assert checkpoints.load_best().state["again"]


def test_it_can_be_described_without_reading_it(tmp_path: Path) -> None:
    saved(tmp_path, 7)
    state, tensors = describe_checkpoint(tmp_path / "step-0000000007")
    assert state == example(7).state
    assert tensors == {"w": ((3, 2), 24), "n": ((), 8), "e": ((0,), 0)}


def test_every_dtype_comes_back_by_the_format_s_own_library(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    tensors = {
        str(dtype): torch.randint(0, 2, (3, 5), generator=random).to(dtype)
        for dtype in (
            torch.uint8, torch.float64, torch.bool, torch.float16, torch.int64, torch.bfloat16,
            torch.int8, torch.int32, torch.float32, torch.int16,
        )
    }  # fmt: skip
    tensors["not contiguous"] = torch.arange(12.0).view(3, 4).T
    tensors["empty"] = torch.empty(0, 3)
    crc = write_tensors(tmp_path / "x.safetensors", tensors)
    assert crc == file_crc32(tmp_path / "x.safetensors")
    loaded = load_file(tmp_path / "x.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[n], t) and loaded[n].dtype == t.dtype for n, t in tensors.items())


def test_rewinding_mends_what_a_crash_left(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 3, best=2, keep=3)
    (tmp_path / ".step-0000000004.partial").mkdir()
    (tmp_path / ".step-0000000001.dropped").mkdir()
    damage_missing(tmp_path / "step-0000000003")
    (tmp_path / "best").unlink()
    (tmp_path / "best").symlink_to("step-0000000001")
    checkpoints.rewind(2, 2)
    assert {p.name for p in tmp_path.iterdir()} == {
        "step-0000000001", "step-0000000002", "last", "best",
    }  # fmt: skip
    assert (tmp_path / "last").readlink().name == "step-0000000002"
    assert checkpoints.load_best().state["step"] == 2
    checkpoints.rewind(2, None)
    assert not (tmp_path / "best").is_symlink()


def test_links_that_look_like_checkpoints_are_not_followed(tmp_path: Path) -> None:
    saved(tmp_path / "elsewhere", 9)
    checkpoints = saved(tmp_path / "run", 1)
    (tmp_path / "run" / "step-0000000009").symlink_to(tmp_path / "elsewhere" / "step-0000000009")
    loaded = checkpoints.load_latest()
    assert loaded is not None
    assert loaded.state["step"] == 1
    checkpoints.save(2, example(2), best=True)
    assert (tmp_path / "elsewhere" / "step-0000000009" / "state.json").exists()


def test_a_pointer_to_a_missing_checkpoint_is_no_matter(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    (tmp_path / "last").unlink()
    (tmp_path / "last").symlink_to("step-0000000005")
    loaded = checkpoints.load_latest()
    assert loaded is not None
    assert loaded.state["step"] == 1
    (tmp_path / "best").symlink_to("step-0000000005")
    with pytest.raises(RunError, match=r"step-0000000005 is incomplete: state.json is missing"):
        checkpoints.load_best()


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
    with pytest.raises(RunError, match=r"every checkpoint in .* is damaged"):
        checkpoints.load_latest()


def test_another_version_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    state = tmp_path / "step-0000000001" / "state.json"
    raw = json.loads(state.read_text())
    del raw["state_crc32"]
    newer = raw | {"version": 99}
    state.write_text(json.dumps(newer | {"state_crc32": state_crc32(newer)}))
    with pytest.raises(RunError, match="checkpoint version 99"):
        read_checkpoint(state.parent)
    with pytest.raises(RunError, match="checkpoint version 99"):
        CheckpointFolder(tmp_path).load_latest()  # no reason to fall back to an older one


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

    monkeypatch.setattr("criteo_stream.runs.checkpoint.write_tensors", full)
    with pytest.raises(OutputError, match="disk is full"):
        checkpoints.save(2, example(2), best=True)
    assert [p.name for p in tmp_path.iterdir() if not p.is_symlink()] == ["step-0000000001"]
    loaded = checkpoints.load_latest()
    assert loaded is not None
    assert loaded.state["step"] == 1
