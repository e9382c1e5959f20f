"""Preparing on several hosts: the same bytes, or one sentence and a folder to continue."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.data.folder import DataFolder
from tests.support.dask_hosts import DaskHosts, dask_hosts, wait_until
from tests.support.data_sets import content, prepare
from tests.support.hosts import kill_tree
from tests.support.processes import TIMEOUT
from tests.support.raw_lines import raw_lines, write_raw

INPUTS = 6
STAGES = {
    "read": ("blocks", "*.json", 2),
    "fit": ("fit", "*.json", 8),
    "encode": ("encoded", "*.json", 2),
}
"""Per stage, the records of it that are waited for before something happens."""


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
def cluster(tmp_path: Path) -> Iterator[DaskHosts]:
    with dask_hosts(2, tmp_path, CRITEO_STREAM_TEST_SECONDS="0.3") as found:
        yield found


class Preparation:
    """A driver on the first host, and what it says."""

    def __init__(self, cluster: DaskHosts, raw: Path, out: Path) -> None:
        self.cluster, self.raw, self.out = cluster, raw, out
        self.log = cluster.folder / "driver.log"
        self.process = self.start()

    def start(self) -> "subprocess.Popen[str]":
        self.log.write_text("")
        self.process = self.cluster.start_driver(
            str(self.raw), "--out", str(self.out), "--min-count", "2", log=self.log
        )
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
    for host in cluster.all[1:]:
        assert not list((tmp_path / f"tmp-{host.hostname}").glob("criteo-stream-*/*lookup*"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_host_that_loses_power(
    stage: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    preparation = Preparation(cluster, raw, tmp_path / "data")
    preparation.reaches(stage)
    cluster.all[1].kill_all()
    preparation.ends(0)
    assert content(tmp_path / "data") == expected


@pytest.mark.parametrize("stage", STAGES)
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


@pytest.mark.parametrize("stage", STAGES)
def test_a_driver_that_is_killed(
    stage: str, cluster: DaskHosts, raw: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    preparation = Preparation(cluster, raw, tmp_path / "data")
    preparation.reaches(stage)
    kill_tree(preparation.process)
    preparation.start()
    assert "continuing: " in preparation.ends(0)
    assert content(tmp_path / "data") == expected


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
