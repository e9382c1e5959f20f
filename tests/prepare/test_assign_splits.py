"""Which rows go to which split, over whole inputs."""

from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.schema import LABEL, SPLITS
from tests.prepare.small_log import LINES
from tests.support.data_sets import prepare, read_split
from tests.support.raw_lines import raw_lines, write_raw

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_inputs_of_several_files_are_read_in_natural_order(tmp_path: Path) -> None:
    lines = raw_lines(900, seed=6)
    for i in (10, 9, 2):
        write_raw(tmp_path / f"part_{i}", lines[300 * [2, 9, 10].index(i) :][:300])
    manifest = prepare(
        tmp_path, tmp_path.parent / "several", keep_order=True, valid=0.0, test=0.0, min_count=1
    ).manifest
    assert [(i.name, i.rows) for i in manifest.inputs] == [
        ("part_2", 300), ("part_9", 300), ("part_10", 300)
    ]  # fmt: skip
    label = read_split(tmp_path.parent / "several", "train")[LABEL]
    assert label.to_list() == [int(line[:1]) for line in lines]


def test_whole_files_as_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    sizes = {"a_1": 300, "a_2": 200, "b_1": 150, "c_1": 100}
    for seed, (name, size) in enumerate(sizes.items()):
        write_raw(tmp_path / "raw" / name, raw_lines(size, seed=seed))
    # The folder names all files, by another spelling than the globs do.
    options: dict[str, Any] = {
        "valid_files": ("raw/b_*",),
        "test_files": (str(tmp_path / "raw/c_1"),),
    }
    manifest = prepare(tmp_path / "raw", tmp_path / "data", min_count=1, **options).manifest
    assert {s: manifest.rows[s] for s in SPLITS} == {"train": 500, "valid": 150, "test": 100}
    with pytest.raises(UsageError, match="b_1 is named by both --valid-files and --test-files"):
        prepare("raw", tmp_path / "x", valid_files=("raw/b_1",), test_files=("raw/*_1",))
    with pytest.raises(InputError, match="no such input: raw/d"):
        prepare("raw", tmp_path / "x", valid_files=("raw/d",))


def test_tail_split_is_in_time_order_over_inputs(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    lines = raw_lines(1000, seed=3)
    write_raw(tmp_path / "raw" / "day_2", lines[:350])
    write_raw(tmp_path / "raw" / "day_10", lines[350:])
    options: dict[str, Any] = {"split": "tail", "valid": 0.2, "test": 0.1, "keep_order": True}
    prepare(tmp_path / "raw", tmp_path / "data", block_rows=130, min_count=1, **options)
    labels = [read_split(tmp_path / "data", split)[LABEL].to_list() for split in SPLITS]
    expected = [int(line[:1]) for line in lines]
    assert labels == [expected[:700], expected[700:900], expected[900:]]


def test_terabyte_split_halves_the_last_day(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for day, rows in ((2, 50), (9, 60), (10, 41)):
        write_raw(tmp_path / "raw" / f"day_{day}", raw_lines(rows, seed=day))
    result = prepare(tmp_path / "raw", tmp_path / "data", split="terabyte", min_count=1)
    assert result.manifest.layout == "terabyte"
    assert result.manifest.rows == {
        "train": 110, "valid": 20, "test": 21, "rejected": 0, "read": 151
    }  # fmt: skip
    assert len(result.warnings) == 3
    assert "day_2 has 50 lines, the complete day has 196,792,019" in result.warnings[0]
    with pytest.raises(UsageError, match=r"--split terabyte needs inputs named day_0"):
        prepare(write_raw(tmp_path / "log.tsv", LINES[:10]), tmp_path / "x", split="terabyte")
    assert not (tmp_path / "x").exists(), "a folder that was begun would refuse another --split"


@pytest.mark.parametrize("options", [{"valid": 0.0, "test": 0.0}, {"valid": 0.9, "test": 0.05}])
def test_splits_may_be_empty_or_small(tmp_path: Path, options: dict[str, Any]) -> None:
    raw = write_raw(tmp_path / "log.tsv", raw_lines(40))
    manifest = prepare(raw, tmp_path / "data", block_rows=7, min_count=1, **options).manifest
    assert sum(manifest.rows[s] for s in SPLITS) == 40
    for split in SPLITS:
        assert all(entry.rows for entry in manifest.shards[split])
