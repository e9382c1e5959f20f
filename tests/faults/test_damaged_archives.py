"""A damaged or cut archive gives the same rows, or one sentence: never fewer rows."""

import bz2
import gzip
import lzma
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from criteo_stream.base.errors import InputError
from criteo_stream.raw.chunks import read_chunks
from criteo_stream.raw.detect_layout import layout_of
from criteo_stream.raw.take_inputs import take_inputs
from tests.support.archives import ARCHIVES, COMPRESSIONS, tarred, two_streams
from tests.support.raw_lines import raw_lines

TEXT = b"".join(line + b"\n" for line in raw_lines(300, seed=8))
# Behind the log too: a compressed archive has one checksum, at its end.
FILES = {"a": b"A readme.\n", "log.tsv": TEXT, "z": TEXT[: TEXT.index(b"\n") + 1]}

PACKED = {name: pack(FILES) for name, pack in ARCHIVES.items()} | {
    f"log{suffix}": two_streams(compress)(TEXT) for suffix, compress in COMPRESSIONS.items()
}


def texts_of(argument: str) -> list[bytes]:
    beginnings = take_inputs([argument])
    layout_of(beginnings)  # without its magic number, a file is no log
    return [b"".join(chunk.text for chunk in read_chunks(b)) for b in beginnings]


def damaged(name: str, draw: random.Random) -> list[bytes]:
    whole = PACKED[name]
    ends = [1, len(whole) // 2, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(40))]
    found = [whole[:end] for end in ends]
    # A plain tar archive has no checksum of its contents, nor has zstd as Arrow writes it.
    if not name.endswith((".tar", ".zst")):
        for _ in range(100):
            data = bytearray(whole)
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            found.append(bytes(data))
    return found


@pytest.mark.parametrize("name", PACKED)
def test_damage_never_means_fewer_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    arguments = {str(path): [TEXT, FILES["z"]], f"{path}::log.tsv": [TEXT]}
    if name not in ARCHIVES:
        arguments = {str(path): [TEXT]}
    path.write_bytes(PACKED[name])
    for argument, expected in arguments.items():
        assert texts_of(argument) == expected
    told = tried = 0
    for data in damaged(name, random.Random(name)):
        path.write_bytes(data)
        for argument, expected in arguments.items():
            tried += 1
            try:
                found = texts_of(argument)
            except InputError:
                told += 1
            else:
                assert found == expected
    assert told > tried * 0.7


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_archive_that_ends_between_two_members_is_cut(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    whole = tarred({"a": TEXT, "b": TEXT}, tarfile.USTAR_FORMAT)
    second = whole.rindex(b"b\0")
    header = whole[second : second + 512]
    path = tmp_path / "log.tar"
    for data in (
        whole[:second],
        whole[: second + 100],
        whole.replace(header, header[:1] + b"x" + header[2:]),
        whole + tarred({"c": TEXT}),
        whole.rstrip(b"\0") + bytes(-len(whole.rstrip(b"\0")) % 512),
    ):
        path.write_bytes(compress(data))
        with pytest.raises(InputError, match=r"log\.tar is damaged or cut short \("):
            texts_of(str(path))


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_what_is_behind_a_compressed_stream_is_not_passed_over(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "log"
    for behind in (b"\0", bytes(4096), b"BZx", TEXT):
        path.write_bytes(COMPRESSIONS[suffix](TEXT) + behind)
        with pytest.raises(InputError, match="log is damaged or cut short"):
            texts_of(str(path))


def test_a_zip_archive_whose_directory_swallows_a_member_is_damaged(tmp_path: Path) -> None:
    whole = bytearray(PACKED["stored.zip"])
    last = whole.rindex(b"PK\x01\x02")
    before = whole.rindex(b"PK\x01\x02", 0, last)
    whole[before + 32] = whole.rindex(b"PK\x05\x06") - last  # as long a comment as the last entry
    path = tmp_path / "log.zip"
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"damaged .*\(its directory has 2 of 3 entries\)"):
        texts_of(str(path))


@pytest.mark.parametrize(("place", "value"), [(6, 99), (8, 1 << 5), (8, 1 << 6)])
def test_a_zip_archive_that_needs_what_nobody_has_is_damaged(
    tmp_path: Path, place: int, value: int
) -> None:
    whole = bytearray(PACKED["deflated.zip"])
    at = whole.index(b"PK\x01\x02", whole.index(b"PK\x01\x02") + 1)
    whole[at + place] = value
    path = tmp_path / "log.zip"
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"is damaged or cut short \("):
        texts_of(f"{path}::log.tsv")
