"""Memory limits of both kinds of control groups, on files as the kernel writes them."""

from pathlib import Path

import pytest

from criteo_stream.base.control_groups import group_free_bytes
from criteo_stream.base.memory import available_bytes

GB = 1 << 30
NONE_V1 = 9223372036854771712


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


class Machine:
    """Files below a folder in the place of the machine's own."""

    def __init__(self, root: Path, cgroup: str, available: int = 100 * GB) -> None:
        self.root = root
        self.mount = root / "sys" / "fs" / "cgroup"
        write(root / "proc" / "meminfo", f"MemTotal: 1 kB\nMemAvailable:   {available >> 10} kB")
        write(root / "proc" / "self" / "cgroup", cgroup)

    def v2(self, path: str, limit: object, used: int, cached: int = 0, anon: int = 0) -> None:
        folder = self.mount / path
        write(folder / "memory.max", limit)
        write(folder / "memory.high", "max")
        write(folder / "memory.current", used)
        stat = f"anon {anon}\nfile {cached}\ninactive_file {cached // 4}\nactive_file "
        write(folder / "memory.stat", f"{stat}{cached - cached // 4}\nslab_reclaimable 0")

    def v1(self, path: str, limit: int, used: int, cached: int = 0) -> None:
        folder = self.mount / "memory" / path
        write(folder / "memory.limit_in_bytes", limit)
        write(folder / "memory.usage_in_bytes", used)
        # Without ``total_`` it is the group's own, without those below.
        stat = f"inactive_file 0\nactive_file 0\ntotal_inactive_file {cached}\ntotal_active_file 0"
        write(folder / "memory.stat", stat)

    @property
    def free(self) -> int | None:
        return available_bytes(self.root)


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    assert Machine(tmp_path, "0::/", 3 * GB).free == 3 * GB
    assert group_free_bytes(tmp_path) is None
    assert available_bytes(tmp_path / "none") is None


def test_no_limit_is_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "4:memory:/\n0::/")
    machine.v1("", NONE_V1, 5 * GB)
    machine.v2("", "max", 5 * GB)
    assert group_free_bytes(tmp_path) is None


def test_version_1_is_seen(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/docker/1")
    machine.v1("docker/1", 4 * GB, 1 * GB)
    assert machine.free == 3 * GB
    machine.v1("docker/1", 4 * GB, 4 * GB, cached=3 * GB)
    assert machine.free == 3 * GB


@pytest.mark.parametrize("path", ["/", "/docker/1", "/../outside"])
def test_a_container_sees_its_group_as_the_mount(tmp_path: Path, path: str) -> None:
    """Its name is the host's, its files are in the mount itself."""
    machine = Machine(tmp_path, f"4:memory:{path}")
    machine.v1("", 4 * GB, 1 * GB)
    assert machine.free == 3 * GB


def test_a_full_page_cache_is_not_used(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/")
    machine.v2("", 8 * GB, 8 * GB, cached=6 * GB, anon=2 * GB)
    assert machine.free == 6 * GB
    machine.v2("", 8 * GB, 8 * GB, anon=8 * GB)
    assert machine.free == 0


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/a/b/c")
    machine.v2("", "max", 50 * GB)
    machine.v2("a", 20 * GB, 16 * GB, cached=1 * GB)
    machine.v2("a/b", 6 * GB, 2 * GB)
    machine.v2("a/b/c", "max", 2 * GB)
    assert machine.free == 4 * GB
    machine.v2("a", 20 * GB, 19 * GB, cached=1 * GB)
    assert machine.free == 2 * GB
    machine.v2("other", 1 * GB, 1 * GB)
    assert machine.free == 2 * GB
    write(machine.mount / "a" / "memory.high", 19 * GB)
    assert machine.free == 1 * GB


def test_a_machine_with_both(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "4:memory:/x\n0::/y")
    machine.v1("x", 9 * GB, 1 * GB)
    machine.v2("unified/y", 7 * GB, 1 * GB)
    assert machine.free == 6 * GB


def test_this_machine_says_something() -> None:
    free = available_bytes()
    assert free is not None
    assert free > 0
