"""Training under faults: processes killed for real, files damaged for real."""

import errno
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import DataSetError, OutputError
from criteo_stream.data.folder import MANIFEST_NAME
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from tests.support.processes import Plan, Running, start, wait_for
from tests.support.training import Outcome, as_flags, figures, fit, outcome

PLAN: dict[str, Any] = {
    "epochs": 2,
    "evaluate_every": 600,
    "checkpoint_every": 200,
    "patience": 50,
}
LONGER = {"epochs": 8}
"""Long enough to be killed at random moments."""


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """The outcome of a run on some number of ranks that nothing happened to."""

    @functools.cache
    def run(ranks: int, **options: Any) -> Outcome:
        folder = tmp_path_factory.mktemp("undisturbed")
        running = train(data, folder, ranks=ranks, **options)
        assert running.wait() == [0] * ranks, running.text()
        return outcome(folder / "run")

    return run


def train(
    data: Path,
    folder: Path,
    *,
    ranks: int = 1,
    workers: int = 1,
    plan: Plan | None = None,
    **options: Any,
) -> Running:
    flags = as_flags(**PLAN | options, workers=workers)
    command = ["train", str(data), "--out", str(folder / "run"), *flags]
    return start(command, folder, ranks=ranks, plan=plan)


def kill_and_continue(
    data: Path, folder: Path, *, ranks: int, workers: int, kills: int, seed: int
) -> int:
    """SIGKILL a rank at random moments, again and again, then let the run finish.

    Returns:
        How many of the kills hit it while it ran.
    """
    moments = random.Random(seed)
    checkpoints = CheckpointFolder(folder / "run" / "checkpoints")
    hit = 0
    for _ in range(kills):
        before = [path.name for path in checkpoints.steps()]
        running = train(data, folder, ranks=ranks, workers=workers, **LONGER)
        rank = moments.randrange(ranks)
        if moments.random() < 0.7:
            _wait_for_another(running, checkpoints, before)
        running.processes[rank].join(moments.uniform(0.0, 0.2))
        hit += running.lose(rank)[rank] == -signal.SIGKILL
    running = train(data, folder, ranks=ranks, workers=workers, **LONGER)
    assert running.wait() == [0] * ranks, running.text()
    return hit


def _wait_for_another(
    running: Running, checkpoints: CheckpointFolder, before: Sequence[str]
) -> None:
    """Until there is a checkpoint that was not there at the start, or the run is over."""

    def is_there() -> bool:
        try:
            new = {path.name for path in checkpoints.steps()} - set(before)
        except FileNotFoundError:  # dropped while we looked
            return True
        return bool(new) or not all(p.is_alive() for p in running.processes)

    wait_for(is_there, 60)


@pytest.mark.parametrize(
    ("ranks", "workers"), [(1, 0), (1, 1), pytest.param(2, 1, marks=pytest.mark.slow)]
)
def test_killed_at_random_moments(
    data: Path,
    undisturbed: Callable[..., Outcome],
    tmp_path: Path,
    ranks: int,
    workers: int,
) -> None:
    hit = kill_and_continue(
        data, tmp_path, ranks=ranks, workers=workers, kills=5, seed=10 * ranks + workers
    )
    assert hit >= 3, "the kills came too late to mean anything"
    assert outcome(tmp_path / "run") == undisturbed(ranks, **LONGER)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_killed_at_many_random_moments(
    data: Path,
    undisturbed: Callable[..., Outcome],
    tmp_path: Path,
    ranks: int,
    workers: int,
    seed: int,
) -> None:
    hit = kill_and_continue(
        data, tmp_path, ranks=ranks, workers=workers, kills=10, seed=1000 * seed + 10 * ranks
    )
    assert hit >= 3
    assert outcome(tmp_path / "run") == undisturbed(ranks, **LONGER)


CHECKPOINT = "criteo_stream.runs.checkpoint_folder:"
MOMENTS = [
    Plan(target="criteo_stream.runs.checkpoint:write_tensors", call=3, when="before"),
    Plan(target="criteo_stream.runs.checkpoint:write_tensors", call=3, when="after"),
    Plan(target=CHECKPOINT + "write_checkpoint", call=3, when="after"),
    Plan(target=CHECKPOINT + "point_link", call=1),
    Plan(target=CHECKPOINT + "point_link", call=3),
    Plan(target=CHECKPOINT + "point_link", call=4),  # ``best`` of the first evaluation
    Plan(target=CHECKPOINT + "point_link", call=4, when="after"),
    Plan(target=CHECKPOINT + "CheckpointFolder.drop_old", call=4),
    Plan(target=CHECKPOINT + "shutil.rmtree", call=5),
    Plan(target="criteo_stream.runs.history:History.append", call=1),
    Plan(target="criteo_stream.runs.history:History.append", call=2, when="after"),
    Plan(target="criteo_stream.train.recorder:Recorder._measured", call=2, when="after"),
    Plan(target="criteo_stream.runs.folder:write_bytes", call=1),
    Plan(target="criteo_stream.runs.folder:write_bytes", call=1, when="after"),
]


@pytest.mark.parametrize("plan", MOMENTS, ids=lambda p: f"{p.when} {p.target} {p.call}")
def test_killed_at_the_worst_moments(
    data: Path, undisturbed: Callable[..., Outcome], tmp_path: Path, plan: Plan
) -> None:
    killed = train(data, tmp_path, plan=plan)
    assert killed.wait() == [-signal.SIGKILL], killed.text()
    continued = train(data, tmp_path)
    assert continued.wait() == [0], continued.text()
    assert outcome(tmp_path / "run") == undisturbed(1)
    left = {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()}
    assert not [name for name in left if name.startswith(".")], "nothing unfinished stays"


@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        ("SIGTERM", 1),
        ("SIGINT", 1),
        ("SIGTERM", 2),
        pytest.param("SIGINT", 2, marks=pytest.mark.slow),  # the same way as SIGTERM
    ],
)
def test_a_signal_saves_and_ends_well(
    data: Path,
    undisturbed: Callable[..., Outcome],
    tmp_path: Path,
    name: str,
    ranks: int,
) -> None:
    """Only the last rank gets it: all agree on the step."""
    plan = Plan(target="criteo_stream.train.loop:train_step", call=50, act=name, rank=ranks - 1)
    stopped = train(data, tmp_path, ranks=ranks, plan=plan)
    assert stopped.wait() == [0] * ranks, stopped.text()
    assert "the same command again continues" in stopped.text(0)
    latest = CheckpointFolder(tmp_path / "run" / "checkpoints").load_latest()
    assert latest is not None
    assert 50 <= latest.state["step"] < 50 + 8, "at the step, or where the ranks next agree"
    continued = train(data, tmp_path, ranks=ranks)
    assert continued.wait() == [0] * ranks, continued.text()
    assert outcome(tmp_path / "run") == undisturbed(ranks)


def test_killed_while_a_slow_save_follows_a_signal(
    data: Path, undisturbed: Callable[..., Outcome], tmp_path: Path
) -> None:
    """What torchrun does to a save that takes longer than its patience."""
    mark = tmp_path / "saving"
    plan = Plan(target="criteo_stream.runs.checkpoint:write_tensors", call=3, act="slow")
    flags = as_flags(**PLAN, workers=1)
    command = ["train", str(data), "--out", str(tmp_path / "run"), *flags]
    running = start(command, tmp_path, plan=plan, env={"SLOW_MARK": str(mark)})
    wait_for(mark.exists)
    before = CheckpointFolder(tmp_path / "run" / "checkpoints").steps()
    running.send(signal.SIGTERM)
    running.kill()
    running.wait()
    latest = CheckpointFolder(tmp_path / "run" / "checkpoints").load_latest()
    assert latest is not None
    assert before[-1].name.endswith(str(latest.state["step"]))
    assert train(data, tmp_path).wait() == [0]
    assert outcome(tmp_path / "run") == undisturbed(1)


def test_a_rank_that_is_killed_takes_the_other_down(data: Path, tmp_path: Path) -> None:
    plan = Plan(target="criteo_stream.train.loop:train_step", call=40, rank=1)
    running = train(data, tmp_path, ranks=2, plan=plan)
    assert running.wait(30) == [1, -signal.SIGKILL]
    text = running.text(0)
    assert "rank 0 lost another rank" in text
    assert "the same command again continues from the last checkpoint" in text
    assert "Traceback" not in text


@pytest.mark.slow  # it waits ten seconds for the signal to be heard
def test_a_rank_hears_the_signal_while_it_waits_for_one_that_hangs(
    data: Path, tmp_path: Path
) -> None:
    """As when torchrun ends the group after a machine of another rank has frozen."""
    target = "criteo_stream.train.loop:train_step"
    running = train(
        data, tmp_path, ranks=2, plan=Plan(target=target, call=40, act="SIGSTOP", rank=1)
    )
    frozen = running.processes[1].pid
    assert frozen is not None
    wait_for(lambda: " T " in Path(f"/proc/{frozen}/stat").read_text())
    time.sleep(1)  # for the other to reach the collective
    running.send(signal.SIGTERM)
    running.processes[0].join(15)
    running.kill(1)
    assert running.wait(1) == [1, -signal.SIGKILL]
    assert "which does not answer; the same command again continues" in running.text(0)


@pytest.mark.parametrize("call", [1, 40])
def test_a_rank_that_raises_ends_all_with_its_message(
    data: Path, tmp_path: Path, call: int
) -> None:
    target = "criteo_stream.train.loop:train_step"
    running = train(
        data, tmp_path, ranks=2, plan=Plan(target=target, call=call, act="raise", rank=1)
    )
    assert running.wait(30) == [1, 1]
    assert running.text(1) == "error: part-00007.parquet is damaged: restore it\n"
    assert "Traceback" not in running.text(0)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_cannot_begin_is_heard_once(data: Path, tmp_path: Path, rank: int) -> None:
    target = "criteo_stream.train.active_run:ActiveRun.begin"
    running = train(data, tmp_path, ranks=2, plan=Plan(target=target, act="raise", rank=rank))
    assert running.wait(30) == [1, 1]
    assert running.text(rank) == "error: part-00007.parquet is damaged: restore it\n"
    assert running.text(1 - rank) == ""


def test_a_user_s_error_is_told_once(data: Path, tmp_path: Path) -> None:
    missing = train(tmp_path / "none", tmp_path / "a", ranks=2)
    assert missing.wait(30) == [1, 1]
    assert missing.text(0).startswith("error: ")
    assert missing.text(0).count("\n") == 1
    assert missing.text(1) == ""
    (tmp_path / "b" / "run").mkdir(parents=True)
    (tmp_path / "b" / "run" / "mine.txt").touch()
    foreign = train(data, tmp_path / "b", ranks=2)
    assert foreign.wait(30) == [1, 1]
    assert "is not a run (found mine.txt)" in foreign.text(0)
    assert foreign.text(1) == ""


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    shutil.copytree(data, tmp_path / "copy")
    return tmp_path / "copy"


def truncated(data: Path) -> str:
    shard = data / "train" / "part-00001.parquet"
    os.truncate(shard, shard.stat().st_size - 10)
    return "part-00001.parquet is damaged"


def flipped(data: Path) -> str:
    shard = data / "train" / "part-00001.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 4
    shard.write_bytes(content)
    return "part-00001.parquet is damaged: checksum"


def missing(data: Path) -> str:
    (data / "train" / "part-00001.parquet").unlink()
    return "part-00001.parquet is missing"


def edited(data: Path) -> str:
    manifest = data / MANIFEST_NAME
    raw = json.loads(manifest.read_text())
    raw["categorical"][3]["ids"] -= 500  # its ids would fall into the next column's
    manifest.write_text(json.dumps(raw))
    return f"{MANIFEST_NAME} is damaged or edited"


def outside(data: Path) -> str:
    manifest = data / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace("train/part-00001", "../secret/part-00001"))
    return f"{MANIFEST_NAME} is damaged or edited"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", [truncated, flipped, missing, edited, outside])
def test_damaged_data_are_named_before_they_spoil_weights(
    copy: Path, tmp_path: Path, damage: Callable[[Path], str], workers: int
) -> None:
    message = damage(copy)
    with pytest.raises(DataSetError, match=message):
        fit(copy, tmp_path / "run", workers=workers, checkpoint_every=32)
    steps = CheckpointFolder(tmp_path / "run" / "checkpoints").steps()
    assert len(steps) <= 2


def test_a_run_continues_when_its_damaged_shard_is_restored(
    data: Path, copy: Path, undisturbed: Callable[..., Outcome], tmp_path: Path
) -> None:
    flipped(copy)
    with pytest.raises(DataSetError):
        fit(copy, tmp_path / "run", **PLAN)
    shutil.copytree(data, copy, dirs_exist_ok=True)
    fit(copy, tmp_path / "run", **PLAN)
    assert outcome(tmp_path / "run") == undisturbed(1)


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
def test_a_damaged_newest_checkpoint_costs_only_the_way_from_the_one_before(
    data: Path,
    undisturbed: Callable[..., Outcome],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    file: str,
    how: str,
) -> None:
    stopped = train(
        data,
        tmp_path,
        plan=Plan(target="criteo_stream.train.loop:train_step", call=60),
    )
    assert stopped.wait() == [-signal.SIGKILL]
    newest = CheckpointFolder(tmp_path / "run" / "checkpoints").steps()[-1]
    path = newest / file
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    continued = train(data, tmp_path)
    assert continued.wait() == [0], continued.text()
    text = continued.text()
    assert "warning: " in text
    assert newest.name in text
    assert "falling back" in text
    assert outcome(tmp_path / "run") == undisturbed(1)


def test_a_crafted_checkpoint_does_not_run_code(data: Path, tmp_path: Path) -> None:
    """Tensors that are a pickle are refused by the format, whatever their checksum."""
    import pickle
    import zlib

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path}/pwned",)

    killed = train(data, tmp_path, plan=Plan(target="criteo_stream.train.loop:train_step", call=60))
    assert killed.wait() == [-signal.SIGKILL]
    for folder in CheckpointFolder(tmp_path / "run" / "checkpoints").steps():
        content = pickle.dumps(Evil())
        (folder / "tensors.safetensors").write_bytes(content)
        raw = json.loads((folder / "state.json").read_text())
        raw["tensors_crc32"] = f"{zlib.crc32(content):08x}"
        del raw["state_crc32"]
        raw["state_crc32"] = f"{zlib.crc32(json.dumps(raw, sort_keys=True).encode()):08x}"
        (folder / "state.json").write_text(json.dumps(raw))
    refused = train(data, tmp_path)
    assert refused.wait() == [1]
    assert "every checkpoint in" in refused.text()
    assert "Traceback" not in refused.text()
    assert not (tmp_path / "pwned").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for one checkpoint, where this user may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2600k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_the_checkpoint_before(
    data: Path, undisturbed: Callable[..., Outcome], small_disk: Path, tmp_path: Path
) -> None:
    import criteo_stream.train.limits

    with pytest.raises(OutputError, match="of disk are free"):
        fit(data, small_disk / "run", **PLAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(criteo_stream.train.limits, "refuse_full_disk", lambda *_: None)
        with pytest.raises(OutputError, match=r"disk is full while writing .*step-\d+"):
            fit(data, small_disk / "run", **PLAN)
    latest = CheckpointFolder(small_disk / "run" / "checkpoints").load_latest()
    assert latest is not None
    assert latest.state["step"] > 0
    assert not list((small_disk / "run" / "checkpoints").glob(".step-*")), "the half is gone"
    shutil.copytree(small_disk / "run", tmp_path / "run", symlinks=True)
    fit(data, tmp_path / "run", **PLAN)
    assert outcome(tmp_path / "run") == undisturbed(1)


def test_a_full_disk_at_the_history_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, line: Any) -> None:
        from criteo_stream.base.storage import full_disk_explained

        with full_disk_explained(self.path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("criteo_stream.runs.history.History.append", full)
    with pytest.raises(OutputError, match=r"disk is full while writing .*history.jsonl"):
        fit(data, tmp_path / "run")
    assert figures(tmp_path / "run") == []
