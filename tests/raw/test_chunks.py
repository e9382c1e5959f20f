import tracemalloc
import zlib
from pathlib import Path

import pytest

from criteo_stream.base.errors import InputError
from criteo_stream.raw import chunks
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.chunks import (
    Chunk,
    Position,
    count_lines,
    first_position,
    read_chunks,
)
from criteo_stream.raw.detect_layout import detect_layout
from criteo_stream.raw.headers import sample_lines
from criteo_stream.raw.layouts import KAGGLE
from criteo_stream.raw.malformed import LONGEST_LINE
from criteo_stream.raw.parse import parse_chunk
from tests.support.raw_lines import (
    COMPRESS,
    VALID_LINE,
    beginning_of,
    raw_lines,
    reczoo_lines,
    write_raw,
)

TEXT = b"".join(line + b"\n" for line in raw_lines(2000))


def write(folder: Path, suffix: str, content: bytes) -> Path:
    path = folder / f"log{suffix}"
    path.write_bytes(content)
    return path


def positions(
    beginning: Beginning, found: list[Chunk], start: Position | None = None
) -> list[Position]:
    """Where each chunk ends."""
    place = start or first_position(beginning)
    return [place := place.after(chunk.extent()) for chunk in found]


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
    ends = [position.lines for position in positions(beginning, found)]
    assert {300, 600, 900, 1200, 1500, 1800, 2000} <= set(ends)
    assert b"".join(c.text for c in found) == TEXT
    for chunk, position in zip(found, positions(beginning, found), strict=True):
        assert chunk.first_line + chunk.lines == position.lines
        read = TEXT[: position.bytes]
        assert (position.lines, position.crc32) == (read.count(b"\n"), zlib.crc32(read))
        rest = list(read_chunks(beginning, block_rows=300, start=position))
        assert b"".join(c.text for c in rest) == TEXT[position.bytes :]
        last = positions(beginning, rest, position)[-1:]
        assert not rest or last == positions(beginning, found)[-1:]


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


def with_long_line(place: int, end: bytes) -> bytes:
    """30 valid lines with a line of 3 MB among them, whose fields are valid too."""
    lines = raw_lines(30)
    lines.insert(place, b"0\t" + b"0" * 3_000_000 + VALID_LINE[2:])
    return b"".join(line + end for line in lines)


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("place", [0, 15, 30])
@pytest.mark.parametrize("chunk_bytes", [16 << 20, 1 << 16, (1 << 20) + 4711])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_over_1_mib_is_one_malformed_line_wherever_it_lies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    place: int,
    chunk_bytes: int,
    end: bytes,
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
    content = with_long_line(place, end)
    content = content.removesuffix(end) if place == 30 else content
    beginning = beginning_of(write(tmp_path, suffix, COMPRESS[suffix](content)))
    found = list(read_chunks(beginning, block_rows=7))
    whole = content + b"\n" if place == 30 else content
    places = positions(beginning, found)
    assert places[-1] == Position(lines=31, bytes=len(whole), crc32=zlib.crc32(whole))
    assert max(len(chunk.text) for chunk in found) <= chunk_bytes + (2 << 20)
    parsed = [parse_chunk(chunk, detect_layout(beginning)) for chunk in found]
    assert [(r.line, r.reason) for p in parsed for r in p.rejects] == [
        (place + 1, "the line is longer than 1 MiB")
    ]
    numbers = [n for p in parsed for n in p.line_numbers.tolist()]
    assert numbers == [n for n in range(1, 32) if n != place + 1]
    assert count_lines(beginning) == 31
    for place in places[:-1:3]:  # any place between two lines is one to go on from
        rest = list(read_chunks(beginning, block_rows=7, start=place))
        assert positions(beginning, rest, place)[-1] == places[-1]


@pytest.mark.parametrize("length", [LONGEST_LINE, LONGEST_LINE + 1])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("chunk_bytes", [16 << 20, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_longest_line_is_a_mebibyte_without_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, end: bytes, chunk_bytes: int
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
    line = b"1\t" + VALID_LINE[2:].rjust(length - 2, b"0")
    content = b"".join(x + end for x in (VALID_LINE, line, VALID_LINE))
    beginning = beginning_of(write(tmp_path, ".tsv", content))
    parsed = [parse_chunk(chunk, KAGGLE) for chunk in read_chunks(beginning)]
    assert sum(p.rejected for p in parsed) == (length > LONGEST_LINE)
    assert sum(p.frame.height for p in parsed) == 3 - (length > LONGEST_LINE)


def test_a_file_without_line_ends_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1 << 20)
    path = tmp_path / "log.tsv"
    with path.open("wb") as file:
        file.write(VALID_LINE + b"\n")
        file.truncate(200 << 20)  # zeros, which take no disk
    beginning = beginning_of(path)
    tracemalloc.start()
    try:
        (_, long) = read_chunks(beginning)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert long.extent()[:2] == (1, (200 << 20) + 1 - len(VALID_LINE) - 1)
    assert peak < 16 << 20


def test_a_header_is_no_row(tmp_path: Path) -> None:
    lines = reczoo_lines(raw_lines(20))
    beginning = beginning_of(write_raw(tmp_path / "x4.csv", lines))
    assert count_lines(beginning) == 20
    assert sample_lines(beginning) == lines[1:]
    (chunk,) = read_chunks(beginning)
    assert (chunk.first_line, chunk.lines) == (0, 20)
    assert first_position(beginning).bytes == len(lines[0]) + 1
    assert chunk.text == b"".join(line + b"\n" for line in lines[1:])
    empty = beginning_of(write_raw(tmp_path / "empty.csv", lines[:1]))
    with pytest.raises(InputError, match=r"empty\.csv holds no rows"):
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
