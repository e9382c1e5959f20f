import gzip
import os
import random
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.raw.inputs import RawInput, find_inputs, natural_key
from tests.support.raw_lines import VALID_LINE, write_raw


def test_order_is_natural_in_folders_and_globs_and_as_a_shell_lists_files(tmp_path: Path) -> None:
    names = [f"day_{i}" for i in range(24)]
    for name in random.Random(0).sample(names, 24):
        write_raw(tmp_path / name, [VALID_LINE])
    (tmp_path / ".hidden").write_bytes(b"x")
    expected = [tmp_path / name for name in names]
    for arguments in (
        [tmp_path],
        [tmp_path / name for name in sorted(names)],
        [str(tmp_path / "day_*")],
        [tmp_path, str(tmp_path / "day_1*")],
    ):
        assert [source.path for source in find_inputs(arguments)] == expected


@given(st.permutations(["dec", "nov", "Oct", "oct_2", "oct_10"]))
def test_an_order_that_no_shell_makes_is_kept(names: list[str]) -> None:
    with TemporaryDirectory() as folder:
        paths = [write_raw(Path(folder) / name, [VALID_LINE]) for name in names]
        found = [source.path.name for source in find_inputs(paths)]
    plain = names in (sorted(names), sorted(names, key=str.casefold))
    assert found == (["Oct", "dec", "nov", "oct_2", "oct_10"] if plain else names)


def test_folders_and_globs_keep_the_order_that_they_are_named_in(tmp_path: Path) -> None:
    for folder in ("2023", "2024"):
        (tmp_path / folder).mkdir()
        for name in ("1", "2", "10"):
            write_raw(tmp_path / folder / name, [VALID_LINE])
    arguments = [tmp_path / "2024", str(tmp_path / "2023/*"), tmp_path / "2024/1"]
    found = [str(source.path.relative_to(tmp_path)) for source in find_inputs(arguments)]
    assert found == ["2024/1", "2024/2", "2024/10", "2023/1", "2023/2", "2023/10"]


def test_files_that_options_name_come_behind_an_order_that_is_meant(tmp_path: Path) -> None:
    paths = {name: write_raw(tmp_path / name, [VALID_LINE]) for name in "abcd"}

    def order(arguments: str, also: str) -> str:
        found = find_inputs([paths[n] for n in arguments], [paths[n] for n in also])
        return "".join(source.path.name for source in found)

    assert order("bd", "ca") == "abcd"
    assert order("db", "ca") == "dbac"
    assert order("dcb", "cab") == "dcba"


def test_names_with_underscores_and_subfolders_are_passed_over_and_told(tmp_path: Path) -> None:
    for name in ("_SUCCESS", "._part-0.crc", "part-0", "dt=2/part-0", "_temporary/0/part-0"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_raw(path, [VALID_LINE])
    told: list[str] = []
    warned: list[str] = []

    def found(argument: str) -> list[str]:
        told.clear()
        warned.clear()
        sources = find_inputs([tmp_path / argument], tell=told.append, warn=warned.append)
        return [str(source.path.relative_to(tmp_path)) for source in sources]

    assert found("") == ["part-0"]
    assert told == [f"{tmp_path}: ._part-0.crc, _SUCCESS, _temporary passed over"]
    assert warned == [f"{tmp_path}: the folder dt=2 is passed over; '{tmp_path}/**' reads it too"]
    assert found("**") == ["dt=2/part-0", "part-0"]
    assert told == warned == []
    assert found("*") == ["part-0"]
    assert found("_S*") == ["_SUCCESS"]
    assert found("_temporary/**") == ["_temporary/0/part-0"]
    assert found("_SUCCESS") == ["_SUCCESS"]
    (tmp_path / "part-0").unlink()
    with pytest.raises(InputError, match=r"holds no file but the folder dt=2: '.*/\*\*' reads"):
        found("")


def test_pipes_and_devices_are_no_files_and_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # whoever opened it would wait
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        for name, words in (
            (str(tmp_path / "fifo"), "fifo is a pipe, and inputs are read more than once: write"),
            ("-", r"- \(standard input\) is a pipe, and inputs are read more than once"),
            (str(tmp_path / "socket"), "socket is a socket, not a file"),
            ("/dev/zero", "/dev/zero is a device, not a file"),
        ):
            with pytest.raises(InputError, match=words):
                find_inputs([name])
    (stdin, pipe) = find_inputs(["-", tmp_path / "fifo"], streams=True)
    assert stdin.is_stream
    assert pipe.is_stream
    with pytest.raises(InputError, match="is a device, not a file"):
        find_inputs(["/dev/zero"], streams=True)
    with pytest.raises(InputError, match="holds no file"):  # found in a folder, it is no log
        find_inputs([tmp_path])


def test_a_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write_raw(tmp_path / "log.tsv", [VALID_LINE])
    for argument in ("~/log.tsv", "~", "~/*.tsv", Path("~/log.tsv")):
        assert [source.path for source in find_inputs([argument])] == [path]


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
    for name in ("day_7.zst", "day_7.bz2", "day_7.xz"):
        assert RawInput(Path("a") / name).day == RawInput(Path("a.zip"), f"b/{name}").day == 7
    assert RawInput(Path("day_7.zip"), "train.csv").name == "train.csv"
    assert RawInput(Path("train.txt")).day is None
    assert RawInput(Path("day_0.gz")).published_rows == 195_841_983
    assert RawInput(Path("day_24")).published_rows is None
    assert sum(RawInput(Path(f"day_{i}")).published_rows or 0 for i in range(24)) == 4_373_472_329


def test_a_prepared_data_set_is_no_folder_of_logs(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="is a prepared data set, not raw logs: train on it"):
        find_inputs([tmp_path])
