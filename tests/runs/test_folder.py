"""A run's folder: what it was begun with comes back, whatever its paths are."""

import os
from pathlib import Path

import pytest

from criteo_stream.base.errors import RunError, UsageError
from criteo_stream.data.manifest import Manifest
from criteo_stream.runs.config import ResolvedConfig, TrainConfig
from criteo_stream.runs.folder import RunFolder

CONFIG: ResolvedConfig = TrainConfig().resolved(1000)


@pytest.mark.parametrize(
    "name", ["set", "\x7f", "\x1b[1m", "a \"b\" \\ 'c'", "é\u2028", "a\r\nb\tc"]
)
def test_any_path_is_recorded(data: Path, tmp_path: Path, name: str) -> None:
    manifest = Manifest.read(data)
    folder = RunFolder(tmp_path / name)
    with folder.locked():
        assert not folder.begin(CONFIG, tmp_path / name, manifest, tmp_path / name)
        assert folder.begin(CONFIG, tmp_path / name, manifest, tmp_path / name)
    record = folder.read()
    assert (record.data, record.from_run) == (str(tmp_path / name), str(tmp_path / name))
    assert record.config == CONFIG
    assert record.fingerprint == manifest.fingerprint


def test_a_path_that_is_not_utf_8_is_refused(data: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(data)
    odd = tmp_path / os.fsdecode(b"\xff")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    for refused in (
        lambda: RunFolder(odd),
        lambda: Manifest.read(odd),
        lambda: folder.begin(CONFIG, odd, manifest),
        lambda: folder.begin(CONFIG, data, manifest, odd),
    ):
        with pytest.raises(UsageError, match=r"^the path .*/\\xff is not UTF-8: rename it$"):
            refused()
    assert not list(folder.path.iterdir())


def test_a_record_of_before_is_read(data: Path, tmp_path: Path) -> None:
    """As they were written before tomli-w: JSON strings, a tab and a line break escaped."""
    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.begin(CONFIG, Path("/data"), Manifest.read(data))
    written = (tmp_path / "config.toml").read_text()
    before = written.replace('"/data"', r'"/d\u0001\t\n\"\\\b\f\r é"')
    assert before != written
    (tmp_path / "config.toml").write_text(before)
    assert folder.read().data == '/d\x01\t\n"\\\b\f\r é'


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[train]\nrows = ")
    with pytest.raises(RunError, match=r"config.toml is damaged or edited .*: restore it"):
        RunFolder(tmp_path).read()
