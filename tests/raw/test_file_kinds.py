"""What a file is by its first bytes: compressed logs are read, everything else is refused."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from criteo_stream.base.errors import InputError
from criteo_stream.raw.chunks import read_chunks
from criteo_stream.raw.open_input import ArchiveInputError
from criteo_stream.raw.take_inputs import take_inputs
from tests.support.archives import COMPRESSIONS, tarred, zipped
from tests.support.raw_lines import (
    COMPRESS,
    VALID_LINE,
    beginning_of,
    raw_lines,
    reczoo_lines,
    write_raw,
)

TEXT = b"".join(line + b"\n" for line in raw_lines(200))


def old_tar() -> bytes:
    """As before ``ustar``: the same header without its mark, and another checksum."""
    content = bytearray(tarred({"train.txt": TEXT}, tarfile.USTAR_FORMAT))
    content[257:265] = bytes(8)
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


def parquet() -> bytes:
    out = io.BytesIO()
    pl.DataFrame({"label": [1]}).write_parquet(out)
    return out.getvalue()


KINDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "7z": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(99), r"is a 7z archive: extract it \(7z x "),
    "zip.gz": (lambda: gzip.compress(zipped({"a": TEXT})), "is a compressed zip archive: extract"),
    "parquet": (parquet, "is a Parquet file, not text: write its rows as lines"),
    "twice": (lambda: gzip.compress(gzip.compress(TEXT)), "was compressed twice: decompress it"),
    "utf-16": (lambda: TEXT.decode().encode("utf-16"), r"is UTF-16 text: convert it \(iconv "),
    "utf-16-le": (lambda: TEXT.decode().encode("utf-16-le"), r"is UTF-16 text: convert it"),
    "utf-16-be": (lambda: TEXT.decode().encode("utf-16-be"), r"is UTF-16 text: convert it"),
    "html": (lambda: b"<!DOCTYPE html>\n<html>", "is a web page, perhaps of a failed download"),
    "lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a log", "train.txt", "day_0.gz", "x.csv.zst"])
def test_other_formats_are_refused_with_what_to_do(tmp_path: Path, kind: str, name: str) -> None:
    make, words = KINDS[kind]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(InputError, match=words):
        beginning_of(tmp_path / name)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("name", ["log", "log.gz", "log.xz", "log.txt", "log.tar.gz"])
def test_compression_goes_by_content_whatever_the_name(
    tmp_path: Path, suffix: str, name: str
) -> None:
    (tmp_path / name).write_bytes(COMPRESSIONS[suffix](TEXT))
    assert b"".join(chunk.text for chunk in read_chunks(beginning_of(tmp_path / name))) == TEXT


@pytest.mark.parametrize("name", ["log", "log.gz", "log.txt", "log.zip"])
def test_archives_go_by_content_whatever_the_name(tmp_path: Path, name: str) -> None:
    for data in (old_tar(), gzip.compress(old_tar()), zipped({"train.txt": TEXT})):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArchiveInputError, match=f"{name} is an archive: name one of its memb"):
            beginning_of(tmp_path / name)
        (beginning,) = take_inputs([tmp_path / name])
        assert beginning.source.member == "train.txt"
        assert b"".join(chunk.text for chunk in read_chunks(beginning)) == TEXT


def test_a_zstd_file_may_begin_with_a_frame_that_is_skipped(tmp_path: Path) -> None:
    frame = b"\x5a\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    (tmp_path / "log").write_bytes(frame + COMPRESS[".zst"](TEXT))
    assert b"".join(c.text for c in read_chunks(beginning_of(tmp_path / "log"))) == TEXT


def test_a_compressed_log_under_a_path_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    path = tmp_path / "l\udcffg.gz"
    path.write_bytes(gzip.compress(TEXT))
    assert b"".join(chunk.text for chunk in read_chunks(beginning_of(path))) == TEXT


def test_files_without_rows_are_passed_over_in_folders_only(tmp_path: Path) -> None:
    lines = reczoo_lines(raw_lines(20))
    write_raw(tmp_path / "part-0.csv", lines)
    empty = {
        "part-1.csv": b"",
        "part-2.csv": lines[0] + b"\n",
        "part-3.csv": lines[0],
        "part-4.csv.gz": gzip.compress(b""),
        "part-5.csv.zst": COMPRESS[".zst"](lines[0] + b"\r\n"),
    }
    for name, content in empty.items():
        (tmp_path / name).write_bytes(content)
    told: list[str] = []
    for argument in (tmp_path, str(tmp_path / "part*")):
        told.clear()
        (beginning,) = take_inputs([argument], tell=told.append)
        assert beginning.source.path.name == "part-0.csv"
        assert told == [f"{tmp_path / name} holds no rows and is passed over" for name in empty]
    for name in empty:
        with pytest.raises(
            InputError, match=f"{name} (is empty|holds a header and no rows): leave"
        ):
            take_inputs([tmp_path / "part-0.csv", tmp_path / name])
    (tmp_path / "part-0.csv").unlink()
    with pytest.raises(InputError, match="all other inputs hold no rows"):
        take_inputs([tmp_path])


def test_a_line_begins_like_no_other_format(tmp_path: Path) -> None:
    for first in (VALID_LINE, b"0" + b"\t" * 39, reczoo_lines([VALID_LINE])[0]):
        assert beginning_of(write_raw(tmp_path / "log", [first, VALID_LINE])).compression is None
