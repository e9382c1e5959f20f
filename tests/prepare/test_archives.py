"""Logs in archives and compressed: the same rows as of the plain file, or one sentence why not."""

import bz2
import gzip
import lzma
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.schema import SPLITS
from criteo_stream.data.manifest import Manifest
from criteo_stream.raw.beginning import Beginning, read_beginning
from criteo_stream.raw.chunks import count_lines, read_chunks
from criteo_stream.raw.inputs import RawInput, find_inputs
from criteo_stream.raw.open_input import open_decompressed
from criteo_stream.raw.take_inputs import take_inputs
from criteo_stream.report.inspection import inspect
from tests.prepare.small_log import LINES, SMALL
from tests.support.archives import ARCHIVES, COMPRESSIONS, tarred, two_streams, zipped
from tests.support.data_sets import content, prepare
from tests.support.raw_lines import raw_lines, reczoo_lines, unlabelled

TEXT = b"".join(line + b"\n" for line in LINES)
README = b"A day of clicks, in 40 columns, between tabs.\n"
FILES = {"./readme.txt": README, "log.tsv": TEXT}


def text_of(beginning: Beginning) -> bytes:
    return b"".join(chunk.text for chunk in read_chunks(beginning))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def member(path: Path, name: str = "log.tsv") -> Beginning:
    return read_beginning(RawInput(path, name))


# Differential: whatever holds the rows, they are the same.


@pytest.fixture(scope="module")
def expected(made: Path) -> dict[str, Any]:
    return content(made, same_inputs=False)


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_member_gives_the_shards_of_the_file(
    tmp_path: Path, name: str, expected: dict[str, Any]
) -> None:
    archive = write(tmp_path / name, ARCHIVES[name](FILES))
    result = prepare(f"{archive}::log.tsv", tmp_path / "data", **SMALL)
    assert content(tmp_path / "data", same_inputs=False) == expected
    (entry,) = result.manifest.inputs
    assert (entry.path, entry.name) == (f"{archive}::log.tsv", "log.tsv")
    assert Manifest.read(tmp_path / "data").options["inputs"] == [entry.path]
    assert prepare(archive, tmp_path / "data", **SMALL).resumed  # the only log in it


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_compressed_file_gives_the_shards_of_the_file(
    tmp_path: Path, suffix: str, expected: dict[str, Any]
) -> None:
    for name, compress in (
        ("one", COMPRESSIONS[suffix]),
        ("two", two_streams(COMPRESSIONS[suffix])),
    ):
        (tmp_path / name).mkdir()
        path = write(tmp_path / name / f"log.tsv{suffix}", compress(TEXT))
        prepare(path, tmp_path / name / "data", **SMALL)
        assert content(tmp_path / name / "data", same_inputs=False) == expected


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("suffix", ["", *COMPRESSIONS])
def test_a_member_is_read_from_any_byte_and_may_be_compressed_itself(
    tmp_path: Path, name: str, suffix: str
) -> None:
    packed = COMPRESSIONS.get(suffix, bytes)(TEXT)
    archive = write(tmp_path / name, ARCHIVES[name]({f"logs/a{suffix}": packed, "b": README}))
    beginning = member(archive, f"logs/a{suffix}")
    assert beginning.source.name == "a"
    assert not beginning.is_seekable
    assert text_of(beginning) == TEXT
    assert count_lines(beginning) == len(LINES)
    assert beginning.estimated_rows == pytest.approx(len(LINES), rel=0.01)
    for at in (0, 1, 12345, len(TEXT) - 1, len(TEXT)):
        with beginning.opened(at) as stream:
            assert stream.read(99999) + stream.read(len(TEXT)) == TEXT[at:]
    with (
        pytest.raises(InputError, match="became shorter since it was read"),
        beginning.opened(len(TEXT) + 1),
    ):
        pass


def test_sizes_are_those_of_the_member(tmp_path: Path) -> None:
    other = b"".join(line + b"\n" for line in raw_lines(4000, seed=5))
    for name, pack in ARCHIVES.items():
        archive = write(tmp_path / name, pack({"log.tsv": TEXT, "other": other}))
        parts = [member(archive), member(archive, "other")]
        assert [part.estimated_rows for part in parts] == pytest.approx(
            [len(LINES), 4000], rel=0.01
        )
        assert sum(p.file_bytes for p in parts) == pytest.approx(archive.stat().st_size, rel=0.15)


def test_two_members_are_read_at_the_same_time(tmp_path: Path) -> None:
    for name, pack in ARCHIVES.items():
        archive = write(tmp_path / name, pack({"a": TEXT, "b": TEXT[::-1]}))
        a, b = RawInput(archive, "a"), RawInput(archive, "b")
        with open_decompressed(a) as first, open_decompressed(b) as second:
            parts = [(first.read(5000), second.read(7000)) for _ in range(len(TEXT) // 5000 + 1)]
        assert b"".join(part for part, _ in parts) == TEXT
        assert b"".join(part for _, part in parts).startswith(TEXT[::-1][:100000])


def test_only_a_plain_file_is_seekable(tmp_path: Path) -> None:
    assert read_beginning(RawInput(write(tmp_path / "log", TEXT))).is_seekable
    for suffix, compress in COMPRESSIONS.items():
        path = write(tmp_path / f"log{suffix}", compress(TEXT))
        assert not read_beginning(RawInput(path)).is_seekable


# What is taken of an archive, and what splits go by.


def test_an_archive_alone_is_all_its_logs(tmp_path: Path) -> None:
    files = {
        "day_10": TEXT,
        "day_9": TEXT[: TEXT.rindex(b"\n1") + 1],
        "LICENSE": b"x" * 999,
        "__MACOSX/._day_9": b"\0\1",
        "empty": b"",
        "rows.parquet": b"PAR1" + bytes(99),
    }
    for name, pack in ARCHIVES.items():
        archive = write(tmp_path / name, pack(files))
        told: list[str] = []
        warned: list[str] = []
        found = take_inputs([archive], tell=told.append, warn=warned.append)
        assert [str(b.source) for b in found] == [f"{archive}::day_9", f"{archive}::day_10"]
        assert told == [f"{archive}: LICENSE, __MACOSX/._day_9, empty passed over"]
        assert warned == [
            f"passed over: {archive}::rows.parquet is a Parquet file, not lines of fields: extract "
            "it, then write it as CSV with a header, python -c 'import polars as pl; "
            """pl.scan_parquet("rows.parquet").sink_csv("rows.csv")'"""
        ]
        archive.unlink()


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("name", ["deflated.zip", "log.tar.gz"])
def test_members_as_splits_are_as_files(tmp_path: Path, name: str) -> None:
    names = ("test.csv", "train.csv", "valid.csv")
    files = {
        n: b"".join(line + b"\n" for line in reczoo_lines(raw_lines(300, seed=i)))
        for i, n in enumerate(names)
    }
    for n, text in files.items():
        (tmp_path / "raw").mkdir(exist_ok=True)
        write(tmp_path / "raw" / n, text)
    archive = write(tmp_path / name, ARCHIVES[name](files))
    options: dict[str, Any] = {"min_count": 2}
    for raw, inside, out in ((tmp_path / "raw", "raw/", "a"), (archive, f"{name}::", "b")):
        prepare(
            raw,
            tmp_path / out,
            valid_files=(str(tmp_path / f"{inside}valid.csv"),),
            test_files=(str(tmp_path / f"{inside}test.csv"),),
            **options,
        )
    a, b = (content(tmp_path / out, same_inputs=False) for out in "ab")
    for manifest in (a["manifest.json"], b["manifest.json"]):
        assert isinstance(manifest, dict)
        del manifest["options"]
    assert a == b
    rows = Manifest.read(tmp_path / "b").rows
    assert {split: rows[split] for split in SPLITS} == {"train": 300, "valid": 300, "test": 300}
    # A whole archive as a split; and no member as both.
    log = write(tmp_path / "log.csv", files["train.csv"])
    prepare(log, tmp_path / "c", valid_files=(str(archive),), **options)
    assert Manifest.read(tmp_path / "c").rows["valid"] == 900
    for valid, test in ((archive, f"{archive}::test.csv"), (f"{archive}::test.csv", archive)):
        with pytest.raises(UsageError, match="is named by both"):
            prepare(log, tmp_path / "d", valid_files=(str(valid),), test_files=(str(test),))


def test_a_file_whose_name_has_the_mark_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.zip", zipped({"log::1": TEXT, "b": b""}))
    assert find_inputs(["a.zip::log::1"]) == [RawInput(Path("a.zip"), "log::1")]
    write(tmp_path / "a.zip::log", TEXT)
    assert find_inputs(["a.zip::log"]) == [RawInput(Path("a.zip::log"))]
    write(tmp_path / "c::d.zip", zipped({"log": TEXT}))
    assert find_inputs(["c::d.zip::./log"]) == [RawInput(Path("c::d.zip"), "log")]
    for argument in ("none.zip::log", "a.zip::", "::log", "::"):
        with pytest.raises(InputError, match=f"no such input: {argument}"):
            find_inputs([argument])
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder is a folder, not an archive"):
        find_inputs(["folder::log"])


def test_a_log_in_an_archive_and_beside_it_is_refused(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", zipped({"log.tsv": TEXT}))
    assert len(take_inputs([archive, f"{archive}::log.tsv"])) == 1
    write(tmp_path / "b.zip", zipped({"log.tsv": TEXT}))  # another log of the same name
    assert len(take_inputs([tmp_path])) == 2
    write(tmp_path / "log.tsv.xz", lzma.compress(TEXT))
    with pytest.raises(InputError, match=r"log\.tsv\.xz and .*a\.zip::log\.tsv are the same log"):
        take_inputs([tmp_path])
    both = write(tmp_path / "both.zip", zipped({"x/log.gz": gzip.compress(TEXT), "x/log": TEXT}))
    with pytest.raises(InputError, match=r"both\.zip::x/log.* are the same log twice"):
        take_inputs([both])


# What cannot be read so.


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def patched(data: bytes, local: int, central: int, value: int) -> bytes:
    """A zip archive with one byte of its first member's two headers replaced."""
    found = bytearray(data)
    found[local] = value
    found[found.index(b"PK\x01\x02") + central] = value
    return bytes(found)


LOG = {"log.tsv": TEXT}
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "encrypted": (lambda: patched(zipped(LOG), 6, 8, 1), "log.tsv is encrypted: extract it"),
    "deflate64": (
        lambda: patched(zipped(LOG), 8, 10, 9),
        "log.tsv is compressed by deflate64, which is not read within a zip archive: extract",
    ),
    "none": (
        lambda: zipped({"a": TEXT, "b/c": TEXT}),
        r"holds no member log.tsv: name one that it holds \(a, b/c\)",
    ),
    "link": (
        lambda: tarred({"a": TEXT, "b": link("log.tsv", "a")}),
        "log.tsv is a link to a: name the member",
    ),
    "hard link": (
        lambda: tarred({"a": TEXT, "b": link("log.tsv", "a", tarfile.LNKTYPE)}),
        "log.tsv is a link to a: name the member",
    ),
    "fifo": (
        lambda: tarred({"b": link("log.tsv", "", tarfile.FIFOTYPE)}),
        "log.tsv is no file: extract the archive",
    ),
    "nested": (
        lambda: tarred({"log.tsv": zipped(LOG)}),
        "log.tsv is an archive within an archive: extract it",
    ),
    "nested tar.gz": (
        lambda: zipped({"log.tsv": gzip.compress(tarred(LOG))}),
        "log.tsv is an archive within an archive: extract it",
    ),
    "no archive": (lambda: TEXT, "is no archive that has members: name the file alone"),
    "compressed": (lambda: bz2.compress(TEXT), "is no archive that has members"),
    "zip.gz": (lambda: gzip.compress(zipped(LOG)), "is no archive that has members"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_member_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    make, words = REFUSED[kind]
    path = write(tmp_path / "archive", make())
    with pytest.raises(InputError, match=words):
        take_inputs([f"{path}::log.tsv"])


def test_an_archive_without_logs_or_with_two_kinds_is_refused(tmp_path: Path) -> None:
    test = b"".join(line + b"\n" for line in unlabelled(LINES[:50]))
    files = {"readme.txt": README, "test.txt": test, "train.txt": TEXT}
    dac = write(tmp_path / "dac.tar.gz", gzip.compress(tarred(files)))
    words = f"{dac} holds logs with labels (train.txt) and without (test.txt): name those"
    with pytest.raises(InputError, match=rf"{re.escape(words)} to read, such as .*::train\.txt$"):
        take_inputs([dac])
    assert text_of(take_inputs([f"{dac}::train.txt"])[0]) == TEXT
    for data in (tarred({"readme.txt": README}), zipped({"readme.txt": README}), zipped({})):
        with pytest.raises(InputError, match=r"archive holds no log, only (readme\.txt|nothing)"):
            take_inputs([write(tmp_path / "archive", data)])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("./log.tsv")
    for data in (
        zipped({"log.tsv": TEXT, "./log.tsv": TEXT}),
        tarred({"log.tsv": TEXT, "b": info}),
        gzip.compress(tarred({"log.tsv": TEXT, "b": info})),
    ):
        archive = write(tmp_path / "archive", data)
        with pytest.raises(InputError, match=r"archive holds more than one member log\.tsv: ext"):
            take_inputs([archive])
        with pytest.raises(InputError, match=r"archive holds more than one member log\.tsv: ext"):
            text_of(member(archive))  # known only at the end where there is no index


def test_an_archive_is_inspected_by_member(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", zipped({"a": TEXT, "b": TEXT}))
    assert inspect(f"{archive}::a").figures["rows_estimated"] == len(LINES)
    with pytest.raises(InputError, match=r"holds several logs \(a, b\): name one, such as .*::a$"):
        inspect(archive)
