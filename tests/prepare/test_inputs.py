import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.prepare.inputs import RawInput, find_inputs, natural_key
from tests.support.raw_lines import VALID_LINE, write_raw


def test_order_is_natural_whatever_the_arguments_order(tmp_path: Path) -> None:
    names = [f"day_{i}" for i in range(24)]
    shuffled = random.Random(0).sample(names, 24)
    for name in shuffled:
        write_raw(tmp_path / name, [VALID_LINE])
    (tmp_path / ".hidden").write_bytes(b"x")
    expected = [tmp_path / name for name in names]
    for arguments in (
        [tmp_path],
        [tmp_path / name for name in shuffled],
        [str(tmp_path / "day_*")],
        [str(tmp_path / "day_1*"), tmp_path],
    ):
        assert [source.path for source in find_inputs(arguments)] == expected


@given(st.lists(st.text("01²ab_/٣", min_size=1), unique=True))
def test_natural_order_is_total(texts: list[str]) -> None:
    backwards = texts[::-1]
    assert sorted(texts, key=natural_key) == sorted(backwards, key=natural_key)
    paths = ["y", "x10a", "x10", "x9", "x01", "x1"]
    assert sorted(paths, key=natural_key) == ["x01", "x1", "x9", "x10", "x10a", "y"]


def test_a_file_named_in_two_ways_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw(tmp_path / "a.tsv", [VALID_LINE])
    (tmp_path / "link.tsv").symlink_to("a.tsv")
    monkeypatch.chdir(tmp_path)
    found = find_inputs(["a.tsv", tmp_path / "a.tsv", "./a.tsv", "link.tsv"])
    assert [source.path for source in found] == [Path("a.tsv")]


def test_a_log_both_plain_and_compressed_is_refused(tmp_path: Path) -> None:
    write_raw(tmp_path / "day_0", [VALID_LINE])
    (tmp_path / "day_0.gz").write_bytes(gzip.compress(VALID_LINE))
    with pytest.raises(InputError, match=r"day_0.*day_0\.gz are the same log twice"):
        find_inputs([tmp_path])


@pytest.mark.parametrize("argument", ["none.tsv", "none*.tsv", "empty"])
def test_an_argument_that_names_nothing_is_refused(tmp_path: Path, argument: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"no such input: .*{argument.replace('*', '.')}"):
        find_inputs([tmp_path / argument])
    with pytest.raises(UsageError, match="no input given"):
        find_inputs([])


def test_names_are_base_names_without_compression_suffix() -> None:
    assert RawInput(Path("a/day_7.gz")).name == RawInput(Path("b/day_7")).name == "day_7"
    assert RawInput(Path("a/day_7.zst")).day == 7
    assert RawInput(Path("train.txt")).day is None
    assert RawInput(Path("day_0.gz")).published_rows == 195_841_983
    assert RawInput(Path("day_24")).published_rows is None
    assert sum(RawInput(Path(f"day_{i}")).published_rows or 0 for i in range(24)) == 4_373_472_329
