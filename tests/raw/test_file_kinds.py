"""What a file is by its first bytes: compressed logs are read, everything else is refused."""

import gzip
import io
import pickle
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pyarrow import orc

from criteo_stream.base.errors import InputError
from criteo_stream.base.schema import FEATURE_COLUMNS
from criteo_stream.raw.chunks import read_chunks
from criteo_stream.raw.detect_layout import detect_layout
from criteo_stream.raw.layouts import RECZOO
from criteo_stream.raw.open_input import ArchiveInputError
from criteo_stream.raw.parse import parse_chunk
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


COLUMNS = {"label": [1] * 3} | {
    column: ["0a1b2c3d"] * 3 if column.startswith("C") else [None, 5, -1]
    for column in FEATURE_COLUMNS
}


def written(write: Callable[[pl.DataFrame, io.BytesIO], object]) -> Callable[[], bytes]:
    def content() -> bytes:
        out = io.BytesIO()
        write(pl.DataFrame(COLUMNS), out)
        return out.getvalue()

    return content


CONVERTED = {
    "a Parquet file": written(pl.DataFrame.write_parquet),
    "an Arrow file": written(pl.DataFrame.write_ipc),
    "an Arrow stream": written(pl.DataFrame.write_ipc_stream),
    "an Avro file": written(pl.DataFrame.write_avro),
    "an ORC file": written(lambda frame, out: orc.write_table(frame.to_arrow(), out)),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_tables_of_other_programs_come_with_the_command_that_makes_them_logs(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a $HOME's {table}"
    path.write_bytes(CONVERTED[kind]())
    with pytest.raises(InputError, match=f"table}} is {kind}, not lines of fields") as refused:
        beginning_of(path)
    command = shlex.split(str(refused.value).partition("a header, ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    (found,) = take_inputs([path.with_suffix(".csv")])
    assert detect_layout(found) == RECZOO
    (chunk,) = read_chunks(found)
    assert parse_chunk(chunk, RECZOO).frame["I13"].to_list() == [None, 5, -1]


@pytest.mark.parametrize(
    ("members", "what"),
    [
        (["X_int.npy", "y.npy"], r"a NumPy archive \(\.npz\)"),
        (["[Content_Types].xml", "xl/workbook.xml"], r"an Office file such as \.xlsx"),
        (["model/data.pkl", "model/version"], "a file that PyTorch saved"),
    ],
)
def test_formats_that_are_zip_archives_are_named(
    tmp_path: Path, members: list[str], what: str
) -> None:
    path = tmp_path / "x"
    path.write_bytes(zipped(dict.fromkeys(members, b"a")))
    with pytest.raises(InputError, match=f"x is {what}, not text: write its rows as CSV"):
        take_inputs([path])


KINDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "7z": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(99), r"is a 7z archive: extract it \(7z x "),
    "zip.gz": (lambda: gzip.compress(zipped({"a": TEXT})), "is a compressed zip archive: extract"),
    "pickle": (lambda: pickle.dumps([1]), "is a Python pickle, not text: write its rows as CSV"),
    "json": (lambda: b'[\n {"label": 1}]', "is JSON, not text of fields: write its rows as CSV"),
    "jsonl": (lambda: b'{"label": 1}\n', "is JSON, not text of fields: write its rows as CSV"),
    "npy": (lambda: b"\x93NUMPY\x01\x00", "is a NumPy file, not text: write its rows as CSV"),
    "twice": (lambda: gzip.compress(gzip.compress(TEXT)), "was compressed twice: decompress it"),
    "utf-16": (lambda: TEXT.decode().encode("utf-16"), r"is UTF-16 text: convert it \(iconv "),
    "utf-16-le": (lambda: TEXT.decode().encode("utf-16-le"), r"is UTF-16 text: convert it"),
    "utf-16-be": (lambda: TEXT.decode().encode("utf-16-be"), r"is UTF-16 text: convert it"),
    "utf-32": (lambda: TEXT.decode().encode("utf-32"), r"is UTF-32 text: convert it \(iconv "),
    "late html": (lambda: b"\xef\xbb\xbf\r\n <html>", "is a web page, perhaps of a failed downl"),
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
