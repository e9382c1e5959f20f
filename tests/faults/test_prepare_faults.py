"""A preparation that is killed, starved of disk or fed with damaged files loses nothing."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import DataSetError, InputError, OutputError
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import Manifest, verify_file
from criteo_stream.prepare import pipeline, stage1_read, stages
from criteo_stream.prepare.workspace import Workspace
from tests.support.data_sets import content, prepare
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.small_disk import small_disk
from tests.support.stopped_preparation import (
    OPTIONS,
    StoppedError,
    no_halves,
    stop_early,
    stopping_at,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_a_run_stopped_at_any_write_continues_to_the_same_bytes(
    raw: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopping_at(monkeypatch, 10**9, StoppedError()) as count:
        prepare(raw, tmp_path / "whole", **OPTIONS)
    writes = count[0]
    assert writes > 100
    for number in range(1, writes + 1, 23):
        out = tmp_path / str(number)
        for before in (True, False):
            # The second time fewer writes are left, perhaps too few to be stopped at.
            with (
                suppress(StoppedError),
                stopping_at(monkeypatch, number, StoppedError(), before=before),
            ):
                prepare(raw, out, **OPTIONS)
                assert not before
            if before:
                no_halves(out)
        prepare(raw, out, **OPTIONS)
        assert content(out) == expected
        shutil.rmtree(out)


def test_only_unfinished_work_is_done_again(
    raw: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "data"
    real = stage1_read.write_scratch
    written: list[str] = []

    def stops_at_the_fourth(folder: Path, name: str, *rest: Any) -> Any:
        if len(written) == 3:
            raise StoppedError
        written.append(name)
        return real(folder, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(stage1_read, "write_scratch", stops_at_the_fourth)
        with pytest.raises(StoppedError):
            prepare(raw, out, **OPTIONS)
    assert written == ["00000-00000", "00000-00001", "00000-00002"]
    written.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            stage1_read, "write_scratch", lambda f, n, *r: (written.append(n), real(f, n, *r))[1]
        )
        prepare(raw, out, quiet=False, **OPTIONS)
    assert written == ["00001-00000", "00001-00001", "00001-00002"]
    assert "continuing: 1,200 lines in 3 blocks are reused" in capsys.readouterr().err
    assert content(out) == expected


@pytest.mark.parametrize("suffix", [".rows", ".values", ".counts"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_scratch_is_found_before_it_is_used(
    raw: Path, tmp_path: Path, suffix: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    stop_early(raw, out, monkeypatch)
    path = Workspace(out).blocks / f"00000-00001{suffix}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flip" else data[:-1])
    with pytest.raises(OutputError, match=rf"00000-00001\{suffix} is (damaged|missing).*--restart"):
        prepare(raw, out, **OPTIONS)
    no_halves(out)


def test_a_shard_lost_between_two_tries_is_missed(
    raw: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    shards = sum(name.endswith("parquet") and "/part" in name for name in expected)
    with stopping_at(monkeypatch, 10**9, StoppedError()) as count:
        prepare(raw, tmp_path / "whole", **OPTIONS)
    stop_early(raw, out, monkeypatch, at=count[0] - shards // 2)
    records = sorted((DataFolder(out).work / "encoded").glob("*.json"))
    assert records
    lost = DataFolder(out).shard("train", int(records[0].stem))
    lost.unlink()
    with pytest.raises(OutputError, match=rf"{lost.name} is missing: restore it, or start over"):
        prepare(raw, out, **OPTIONS)


def test_a_damaged_shard_is_found_by_its_checksum(raw: Path, tmp_path: Path) -> None:
    manifest = prepare(raw, tmp_path, **OPTIONS).manifest
    for entry in (manifest.shards["train"][1], manifest.fit_files[0]):
        path = tmp_path / entry.path
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        with pytest.raises(DataSetError, match=rf"{path.name} is damaged: checksum"):
            verify_file(tmp_path, entry)
    assert Manifest.read(tmp_path) == manifest


def test_a_damaged_archive_stops_the_run_and_what_was_read_is_kept(
    raw: Path, tmp_path: Path
) -> None:
    import gzip

    text = b"".join((raw / f"day_{i}").read_bytes() for i in (1, 2))
    path = tmp_path / "day_1.gz"
    # Two members, the second one cut: the first is whole.
    path.write_bytes(gzip.compress(text) + gzip.compress(text)[:-100])
    out = tmp_path / "data"
    with pytest.raises(InputError, match=r"day_1\.gz is damaged or cut short"):
        prepare(path, out, **OPTIONS)
    no_halves(out)


def full_disk(number: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    return stopping_at(monkeypatch, number, OSError(errno.ENOSPC, "No space left on device"))


def test_a_full_disk_is_told_and_the_run_can_go_on(
    raw: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 20, 80, 125):
        out = tmp_path / str(number)
        with (
            full_disk(number, monkeypatch),
            pytest.raises(OutputError, match=r"the disk is full while writing .*run the same"),
        ):
            prepare(raw, out, **OPTIONS)
        no_halves(out)
        assert not list(out.rglob("*.partial"))
        prepare(raw, out, **OPTIONS)
        assert content(out) == expected


def test_a_disk_too_small_is_refused_at_the_start(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(OutputError, match=r"need .* of disk, .* has 1 MB: free some space"):
        prepare(raw, tmp_path / "data", **OPTIONS)


def test_a_small_disk_that_fills_up_at_any_stage(
    raw: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real thing: each size lets the run get further, until it fits."""
    monkeypatch.setattr(pipeline, "refuse_too_large", lambda *_: None)
    failures: set[str] = set()
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        out = disk / "data"
        for size in range(64 << 10, 8 << 20, 48 << 10):
            grow = ["mount", "-o", f"remount,size={size}", str(disk)]
            subprocess.run(grow, check=True)
            try:
                prepare(raw, out, **OPTIONS)
                break
            except OutputError as error:
                message = str(error)
                assert "the disk is full while writing" in message
                failures.add("work" if ".work" in message else "set")
                no_halves(out)
                assert not list(out.rglob("*.partial"))
        assert content(out) == expected
    assert failures == {"work", "set"}


def test_a_block_whose_scratch_was_not_yet_removed_is_encoded_once(
    raw: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"

    def stops(*_: Any) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:  # a block's shards are written, its scratch is there
        patch.setattr(stages, "remove_scratch", stops)
        with pytest.raises(StoppedError):
            prepare(raw, out, workers=1, **OPTIONS)
    (record,) = Workspace(out).shards(0).parent.iterdir()
    shard = DataFolder(out).shard("train", int(record.stem))
    before = shard.stat().st_mtime_ns
    prepare(raw, out, **OPTIONS)
    assert shard.stat().st_mtime_ns == before
    assert content(out) == expected


PROGRAM = """
import sys
from criteo_stream.prepare.pipeline import preprocess
preprocess(sys.argv[1], sys.argv[2], quiet=True, block_rows=int(sys.argv[3]), min_count=2)
"""


def start(raw: Path, out: Path, block_rows: int) -> subprocess.Popen[bytes]:
    """A run of its own, in its own process group."""
    command = [sys.executable, "-c", PROGRAM, str(raw), str(out), str(block_rows)]
    return subprocess.Popen(command, start_new_session=True)


def kill_until(
    kills: int, raw: Path, folder: Path, expected: dict[str, Any], block_rows: int
) -> set[str]:
    """Kill runs at random moments until so many died; each finished set must be the same.

    Returns:
        The stages in which they died.
    """
    draw = random.Random(kills)
    died = number = 0
    seconds = 1.0
    stages: set[str] = set()
    while died < kills:
        out = folder / str(number)
        number += 1
        while not DataFolder(out).manifest.exists():
            process = start(raw, out, block_rows)
            # Starting Python takes most of a small run's time: wait until work begins.
            while process.poll() is None and not DataFolder(out).work.exists():
                time.sleep(0.001)
            began = time.perf_counter()
            if number > 1 and died < kills:  # the first run tells how long it takes
                with suppress(subprocess.TimeoutExpired):
                    process.wait(draw.uniform(0, seconds))
            if number > 1 and died < kills and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            # A run that is at its end may finish before the signal reaches it: no death then.
            code = process.wait()
            assert code in (0, -signal.SIGKILL)
            if code == -signal.SIGKILL:
                died += 1
                stages.add(stage_of(out))
            seconds = time.perf_counter() - began if number == 1 else seconds
            if not DataFolder(out).manifest.exists():
                no_halves(out)
        prepare(raw, out, block_rows=block_rows, min_count=2)  # also where only the end was cut
        assert content(out) == expected
        shutil.rmtree(out)
    return stages


def stage_of(out: Path) -> str:
    work = DataFolder(out).work
    for name in ("encoded", "fit", "blocks"):
        if list((work / name).glob("[!.]*")):
            return name
    return "start"


@pytest.mark.slow  # ten kills, each a process; `make faults` has twenty more
def test_killed_at_random_moments(raw: Path, tmp_path: Path) -> None:
    prepare(raw, tmp_path / "data", block_rows=100, min_count=2)
    assert kill_until(10, raw, tmp_path, content(tmp_path / "data"), 100)


@pytest.mark.slow
def test_killed_at_random_moments_over_all_stages(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "log.tsv", raw_lines(20_000, seed=1) * 15)
    prepare(raw, tmp_path / "data", block_rows=30_000, min_count=2)
    expected = content(tmp_path / "data")
    stages = kill_until(20, raw, tmp_path, expected, 30_000)
    assert stages >= {"blocks", "fit", "encoded"}
