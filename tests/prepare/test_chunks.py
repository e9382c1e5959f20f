import zlib
from pathlib import Path

import pytest

from criteo_stream.base.errors import InputError
from criteo_stream.prepare import chunks
from criteo_stream.prepare.chunks import Position, count_lines, read_chunks
from criteo_stream.prepare.layouts import detect_layout, sample_lines
from tests.support.raw_lines import COMPRESS, beginning_of, raw_lines, reczoo_lines, write_raw

TEXT = b"".join(line + b"\n" for line in raw_lines(2000))


def write(folder: Path, suffix: str, content: bytes) -> Path:
    path = folder / f"log{suffix}"
    path.write_bytes(content)
    return path


def read_all(path: Path) -> bytes:
    return b"".join(chunk.text for chunk in read_chunks(beginning_of(path)))


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("final_newline", [True, False])
def test_lines_come_whole_and_all(tmp_path: Path, suffix: str, final_newline: bool) -> None:
    content = TEXT if final_newline else TEXT[:-1]
    source = write(tmp_path, suffix, COMPRESS[suffix](content))
    assert read_all(source) == TEXT
    assert count_lines(beginning_of(source)) == 2000


@pytest.mark.parametrize("suffix", COMPRESS)
def test_chunks_end_where_blocks_end_and_continue_from_any_of_them(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 30_000)
    beginning = beginning_of(write(tmp_path, suffix, COMPRESS[suffix](TEXT)))
    found = list(read_chunks(beginning, block_rows=300))
    assert {0, 300, 600, 900, 1200, 1500, 1800, 2000} <= {c.end.lines for c in found} | {0}
    assert b"".join(c.text for c in found) == TEXT
    position = Position()
    for chunk in found:
        assert chunk.start == position
        position = chunk.end
        read = TEXT[: position.bytes]
        assert (position.lines, position.crc32) == (read.count(b"\n"), zlib.crc32(read))
        rest = list(read_chunks(beginning, block_rows=300, start=position))
        assert b"".join(c.text for c in rest) == TEXT[position.bytes :]
        assert not rest or rest[-1].end == found[-1].end


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_several_members_in_one_file_are_read(tmp_path: Path, suffix: str) -> None:
    compress = COMPRESS[suffix]
    parts = [TEXT[:1000], b"", TEXT[1000:1001], TEXT[1001:]]
    assert read_all(write(tmp_path, suffix, b"".join(map(compress, parts)))) == TEXT


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["header", "cut", "cut member", "cut trailer", "flip", "junk"])
def test_a_damaged_stream_is_told_never_read_short(
    tmp_path: Path, suffix: str, damage: str
) -> None:
    compress = COMPRESS[suffix]
    whole = compress(TEXT)
    content = {
        "header": b"\x00" + whole[1:],
        "cut": whole[: len(whole) // 2],
        "cut member": whole + whole[: len(whole) // 2],
        "cut trailer": whole[:-3],
        "flip": whole[: len(whole) // 2] + b"\xa5\x5a\xa5\x5a" + whole[len(whole) // 2 + 4 :],
        "junk": whole + b"not compressed at all",
    }[damage]
    source = write(tmp_path, suffix, content)
    with pytest.raises(InputError, match=rf"log\{suffix} is damaged or cut short .*again"):
        read_all(source)


def test_a_file_without_lines_is_refused(tmp_path: Path) -> None:
    for suffix, compress in COMPRESS.items():
        source = write(tmp_path, suffix, compress(b""))
        for read in (read_all, lambda path: detect_layout(beginning_of(path))):
            with pytest.raises(InputError, match=rf"log\{suffix} is empty"):
                read(source)


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, ".tsv", b"x" * 3_000_000)
    with pytest.raises(InputError, match="a line of over 1 MiB"):
        read_all(source)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1 << 16)
    with pytest.raises(InputError, match="a line of over 1 MiB"):
        read_all(source)


def test_a_header_is_no_row(tmp_path: Path) -> None:
    lines = reczoo_lines(raw_lines(20))
    beginning = beginning_of(write_raw(tmp_path / "x4.csv", lines))
    assert count_lines(beginning) == 20
    assert sample_lines(beginning) == lines[1:]
    (chunk,) = read_chunks(beginning)
    assert (chunk.start.lines, chunk.start.bytes, chunk.lines) == (0, len(lines[0]) + 1, 20)
    assert chunk.text == b"".join(line + b"\n" for line in lines[1:])
    empty = beginning_of(write_raw(tmp_path / "empty.csv", lines[:1]))
    with pytest.raises(InputError, match=r"empty\.csv is empty"):
        list(read_chunks(empty))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_header_that_goes_before_the_rows_are_read_is_noticed(
    tmp_path: Path, suffix: str
) -> None:
    lines = [line + b"\n" for line in reczoo_lines(raw_lines(20))]
    path = write(tmp_path, suffix, COMPRESS[suffix](b"".join(lines)))
    beginning = beginning_of(path)
    path.write_bytes(COMPRESS[suffix](b"".join(lines[1:])))
    with pytest.raises(InputError, match="changed since its header was read"):
        list(read_chunks(beginning))
