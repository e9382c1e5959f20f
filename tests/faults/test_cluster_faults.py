"""Preparing on several hosts: the same bytes, or one sentence and a folder to continue."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from criteo_stream import __version__
from criteo_stream.data.folder import DataFolder
from criteo_stream.prepare.lease import OWNER_NAME
from tests.support.dask_hosts import DaskHosts, dask_hosts, wait_until
from tests.support.data_sets import content, prepare
from tests.support.hosts import kill_tree
from tests.support.processes import TIMEOUT
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.small_disk import small_disk
from tests.support.stopped_preparation import no_halves

INPUTS = 6
STAGES = {
    "read": ("blocks", "*.json", 2),
    "fit": ("fit", "*.json", 8),
    "encode": ("encoded", "*.json", 2),
}
"""Per stage, the records of it that are waited for before something happens."""

LEASE = 4
SHORT_LEASE = f"from criteo_stream.prepare import lease; lease.LEASE_SECONDS = {LEASE}"
NO_LOCKS = """
from contextlib import nullcontext
from criteo_stream.prepare import workspace
workspace.locked_folder = lambda folder, busy: nullcontext()
"""
"""As on another machine, of whose locks some file systems do not know."""
ANY_DISK = "from criteo_stream.prepare import pipeline; pipeline.refuse_too_large = lambda *_: None"


def some_slow(quick: str) -> list[Any]:
    """The stages, of which one is tried in the quick tests too."""
    return [s if s == quick else pytest.param(s, marks=pytest.mark.slow) for s in STAGES]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for number in range(INPUTS):
        write_raw(folder / f"part_{number}", raw_lines(800, seed=number))
    return folder


@pytest.fixture(scope="module")
def expected(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("expected") / "data"
    prepare(raw, out, min_count=2)
    return content(out)


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DaskHosts]:
    seconds = getattr(request, "param", "0.3")
    with dask_hosts(2, tmp_path, CRITEO_STREAM_TEST_SECONDS=seconds) as found:
        yield found


class Preparation:
    """A driver on the first host, and what it says."""

    def __init__(self, cluster: DaskHosts, raw: Path, out: Path, **how: Any) -> None:
        self.cluster, self.raw, self.out = cluster, raw, out
        self.log = cluster.folder / "driver.log"
        self.process = self.start(**how)

    def start(self, **how: Any) -> "subprocess.Popen[str]":
        """``how`` as for `DaskHosts.start_driver`."""
        self.log.write_text("")
        arguments = (str(self.raw), "--out", str(self.out), "--min-count", "2")
        self.process = self.cluster.start_driver(*arguments, log=self.log, **how)
        return self.process

    def reaches(self, stage: str) -> None:
        folder, pattern, count = STAGES[stage]
        work = DataFolder(self.out).work / folder
        wait_until(
            lambda: self.process.poll() is not None or len(list(work.glob(pattern))) >= count, stage
        )
        assert self.process.poll() is None, self.said()

    def ends(self, code: int) -> str:
        assert self.process.wait(TIMEOUT) == code, self.said()
        return self.said()

    def said(self) -> str:
        return self.log.read_text()


def error_of(said: str) -> str:
    """The one sentence of a run that failed."""
    assert "Traceback" not in said, said
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    return error


def test_workers_on_two_hosts_make_the_same_set(
    cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    preparation = Preparation(cluster, raw, tmp_path / "data")
    said = preparation.ends(0)
    assert content(tmp_path / "data") == expected
    assert f"for each worker of {cluster.address}" in said
    copies = [tmp_path / f"tmp-{host.hostname}" for host in cluster.all[1:]]
    assert all(list(folder.glob("criteo-stream-*")) for folder in copies)
    # The workers live on, and need them no more.
    wait_until(lambda: not any(list(c.glob("criteo-stream-*/*")) for c in copies), "copies", 20)


@pytest.mark.parametrize("stage", some_slow("read"))
def test_a_host_that_loses_power(
    stage: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    preparation = Preparation(cluster, raw, tmp_path / "data")
    preparation.reaches(stage)
    cluster.all[1].kill_all()
    preparation.ends(0)
    assert content(tmp_path / "data") == expected


@pytest.mark.parametrize("stage", some_slow("encode"))
def test_a_scheduler_that_is_killed(
    stage: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    preparation = Preparation(cluster, raw, tmp_path / "data")
    preparation.reaches(stage)
    assert cluster.scheduler
    kill_tree(cluster.scheduler)
    error = error_of(preparation.ends(1))
    assert "the Dask scheduler at tcp://10.77.0.1:8786 ended or was cut off" in error
    cluster.stop()
    cluster.start_scheduler()
    for host in cluster.all[1:]:
        cluster.start_worker(host)
    preparation.start()
    assert "continuing: " in preparation.ends(0)
    assert content(tmp_path / "data") == expected


@pytest.mark.parametrize("stage", some_slow("fit"))
def test_a_driver_that_is_killed(
    stage: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    preparation = Preparation(cluster, raw, tmp_path / "data")
    preparation.reaches(stage)
    kill_tree(preparation.process)
    preparation.start()
    assert "continuing: " in preparation.ends(0)
    assert content(tmp_path / "data") == expected


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_host_that_is_cut_off_and_comes_back(
    stage: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    preparation = Preparation(cluster, raw, tmp_path / "data")
    preparation.reaches(stage)
    cluster.all[1].cut()
    lost = "Remove worker"
    wait_until(lambda: lost in (tmp_path / "scheduler.log").read_text(), lost)
    cluster.all[1].restore()
    preparation.ends(0)
    assert content(tmp_path / "data") == expected


def test_a_worker_of_another_version(
    cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    host = cluster.all[1]
    cluster.replace_worker(host, CRITEO_STREAM_TEST_VERSION="9.8.7")
    out = tmp_path / "data"
    preparation = Preparation(cluster, raw, out)
    assert error_of(preparation.ends(1)) == (
        f"error: version {__version__} of this package prepares {out}, and a worker has 9.8.7: "
        f"install the same version on all hosts (on {host.hostname})"
    )
    cluster.replace_worker(host)
    preparation.start()
    preparation.ends(0)
    assert content(out) == expected


@pytest.mark.slow
def test_a_worker_whose_own_disk_is_full(
    cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    host = cluster.all[1]
    cluster.replace_worker(host, before='mount -t tmpfs -o size=64k tmpfs "$TMPDIR"')
    preparation = Preparation(cluster, raw, tmp_path / "data")
    error = error_of(preparation.ends(1))
    where = f"{tmp_path}/tmp-{host.hostname}/criteo-stream-{os.getuid()}"
    assert error.startswith(f"error: the disk is full while writing {where}/")
    assert error.endswith(f"run the same command again to continue (on {host.hostname})")
    cluster.replace_worker(host)
    preparation.start()
    assert "continuing: " in preparation.ends(0)
    assert content(tmp_path / "data") == expected


@pytest.mark.slow
def test_a_worker_that_does_not_see_the_folder(
    cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    host, out = cluster.all[1], tmp_path / "shared" / "data"
    out.parent.mkdir()
    cluster.replace_worker(host, before=f"mount -t tmpfs tmpfs {out.parent}")
    preparation = Preparation(cluster, raw, out)
    assert error_of(preparation.ends(1)) == (
        f"error: {host.hostname} has no {out}/.work/plans: the data set's folder must be on "
        "storage that all hosts share, under one path"
    )
    cluster.replace_worker(host)
    preparation.start()
    preparation.ends(0)
    assert content(out) == expected


@pytest.mark.slow
def test_a_shared_disk_that_fills_up_in_any_stage(
    raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    failures: set[str] = set()
    with small_disk(tmp_path / "disk", 128 << 10) as disk, dask_hosts(2, tmp_path) as cluster:
        out, size = disk / "data", 128 << 10
        preparation = Preparation(cluster, raw, out, before=ANY_DISK)
        while code := preparation.process.wait(TIMEOUT):
            error = error_of(preparation.ends(code))
            assert error.startswith("error: the disk is full while writing "), error
            path = Path(error.removeprefix("error: the disk is full while writing ").split(";")[0])
            failures.add(path.parent.name)
            no_halves(out)
            size += 128 << 10
            assert size < 16 << 20
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            preparation.start(before=ANY_DISK)
        assert content(out) == expected
    assert failures & {"blocks", "plans"}
    assert failures & {"fit", "vocabulary", "data"}
    assert failures & {"train", "valid", "test", "encoded"}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["2"], indirect=True)  # longer than the second one looks
@pytest.mark.parametrize("locks", ["", NO_LOCKS], ids=["locks", "no locks"])
def test_a_second_driver_is_refused(
    locks: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "data"
    preparation = Preparation(cluster, raw, out)
    preparation.reaches("read")
    log = tmp_path / "second.log"
    arguments = (str(raw), "--out", str(out), "--min-count", "2")
    second = cluster.start_driver(*arguments, log=log, host=cluster.all[2], before=locks)
    assert second.wait(TIMEOUT) == 1
    assert error_of(log.read_text()) == (
        f"error: process {preparation.process.pid} of host-1 is preparing {out}: wait for it, or "
        "choose another --out"
    )
    preparation.ends(0)
    assert content(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_driver_whose_host_loses_power(
    stage: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    """And with it a worker; another host goes on, when it is sure that nobody else does."""
    lost, out = cluster.all[1], tmp_path / "data"
    preparation = Preparation(cluster, raw, out, host=lost, before=SHORT_LEASE)
    preparation.reaches(stage)
    pid = preparation.process.pid
    lost.lose_power()
    preparation.process.wait()
    began = time.monotonic()
    preparation.start(before=SHORT_LEASE)
    said = preparation.ends(0)
    assert time.monotonic() - began > LEASE
    waiting = f"process {pid} of host-2 may still be preparing {out}: waiting {LEASE} s to see"
    assert waiting in said
    assert "continuing: " in said
    assert content(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c(
    stage: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "data"
    preparation = Preparation(cluster, raw, out)
    preparation.reaches(stage)
    preparation.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    said = preparation.ends(130)
    assert time.monotonic() - began < 10
    assert said.splitlines()[-1] == "interrupted: the same command again continues"
    assert "Traceback" not in said
    assert not (out / OWNER_NAME).exists()
    time.sleep(3)
    before = files_of(out)
    time.sleep(3)
    assert files_of(out) == before, "workers go on"
    preparation.start()
    assert "continuing: " in preparation.ends(0)
    assert content(out) == expected


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
