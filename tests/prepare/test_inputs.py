import gzip
import random
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.prepare import inputs
from criteo_stream.prepare.inputs import (
    KAGGLE,
    KAGGLE_UNLABELLED,
    RECZOO,
    TERABYTE,
    Position,
    RawInput,
    count_lines,
    detect_layout,
    find_inputs,
    layout_of,
    natural_key,
    open_decompressed,
    read_chunks,
    sample_lines,
    sample_sizes,
)
from tests.support.raw_lines import VALID_LINE, raw_lines, reczoo_lines, write_raw

TEXT = b"".join(line + b"\n" for line in raw_lines(2000))


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


COMPRESS = {".tsv": bytes, ".gz": gzip.compress, ".zst": zstd}


def write(folder: Path, suffix: str, content: bytes) -> RawInput:
    path = folder / f"log{suffix}"
    path.write_bytes(content)
    return RawInput(path)


def read_all(source: RawInput) -> bytes:
    return b"".join(chunk.text for chunk in read_chunks(source))


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


def test_an_unreadable_file_is_told_in_words(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="no such input"),
        open_decompressed(RawInput(tmp_path / "gone")),
    ):
        pass
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        list(read_chunks(RawInput(tmp_path)))


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("final_newline", [True, False])
def test_lines_come_whole_and_all(tmp_path: Path, suffix: str, final_newline: bool) -> None:
    content = TEXT if final_newline else TEXT[:-1]
    source = write(tmp_path, suffix, COMPRESS[suffix](content))
    assert read_all(source) == TEXT
    assert count_lines(source) == 2000


@pytest.mark.parametrize("suffix", COMPRESS)
def test_chunks_end_at_unit_bounds_and_continue_from_any_of_them(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "CHUNK_BYTES", 30_000)
    source = write(tmp_path, suffix, COMPRESS[suffix](TEXT))
    chunks = list(read_chunks(source, unit_rows=300))
    assert {0, 300, 600, 900, 1200, 1500, 1800, 2000} <= {c.end.lines for c in chunks} | {0}
    assert b"".join(c.text for c in chunks) == TEXT
    position = Position()
    for chunk in chunks:
        assert chunk.start == position
        position = chunk.end
        read = TEXT[: position.bytes]
        assert (position.lines, position.crc32) == (read.count(b"\n"), zlib.crc32(read))
        rest = list(read_chunks(source, unit_rows=300, start=position))
        assert b"".join(c.text for c in rest) == TEXT[position.bytes :]
        assert not rest or rest[-1].end == chunks[-1].end


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
        for read in (read_all, detect_layout):
            with pytest.raises(InputError, match=rf"log\{suffix} is empty"):
                read(source)


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, ".tsv", b"x" * 3_000_000)
    with pytest.raises(InputError, match="a line of over 1 MiB"):
        read_all(source)
    monkeypatch.setattr(inputs, "CHUNK_BYTES", 1 << 16)
    with pytest.raises(InputError, match="a line of over 1 MiB"):
        read_all(source)


def unlabelled(lines: list[bytes]) -> list[bytes]:
    return [line.split(b"\t", 1)[1] for line in lines]


def test_layouts_are_recognised_from_the_first_lines(tmp_path: Path) -> None:
    lines = raw_lines(200)
    stripped = [line.rstrip(b"\t") for line in lines]
    crlf = [line + b"\r" for line in lines]
    for number, (name, content, layout) in enumerate(
        [
            ("train.txt", lines, KAGGLE),
            ("crlf.txt", crlf, KAGGLE),
            ("stripped.txt", stripped, KAGGLE),
            ("test.txt", unlabelled(lines), KAGGLE_UNLABELLED),
            ("day_3", lines, TERABYTE),
            ("one.txt", lines[:1], KAGGLE),
            ("x4.csv", reczoo_lines(lines), RECZOO),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert detect_layout(RawInput(write_raw(folder / name, content))) == layout


@pytest.mark.parametrize(
    "content",
    [b"a,b,c\n1,2,3\n", b"{}", b"\x1f\x8b\x08" + bytes(500), b"\n\n\n", b"1\n2\n", b"x" * 100_000],
)
def test_what_is_not_criteo_is_refused_with_what_it_looks_like(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(InputError, match=r"not a Criteo click log.*fields.*expected 40"):
        detect_layout(write(tmp_path, ".txt", content))


def test_layouts_do_not_mix(tmp_path: Path) -> None:
    lines = raw_lines(20)
    train = RawInput(write_raw(tmp_path / "train.txt", lines))
    test = RawInput(write_raw(tmp_path / "test.txt", unlabelled(lines)))
    day = RawInput(write_raw(tmp_path / "day_0", lines))
    with pytest.raises(InputError, match=r"train\.txt has 40 fields a line, .*test\.txt has 39"):
        layout_of([train, test])
    assert layout_of([train, day]) == KAGGLE
    assert layout_of([day]) == TERABYTE
    assert layout_of([day], "kaggle") == KAGGLE
    assert layout_of([train], "terabyte") == TERABYTE
    csv = RawInput(write_raw(tmp_path / "x4.csv", reczoo_lines(lines)))
    assert layout_of([csv]) == layout_of([csv], "reczoo") == RECZOO
    for sources, wanted in (([train, csv], "auto"), ([csv], "kaggle"), ([train], "reczoo")):
        with pytest.raises(InputError, match="is of the layout"):
            layout_of(sources, wanted)
    with pytest.raises(
        UsageError, match="--layout reczo is not known: use auto, kaggle, terabyte, reczoo"
    ):
        layout_of([train], "reczo")


def test_names_are_base_names_without_compression_suffix() -> None:
    assert RawInput(Path("a/day_7.gz")).name == RawInput(Path("b/day_7")).name == "day_7"
    assert RawInput(Path("a/day_7.zst")).day == 7
    assert RawInput(Path("train.txt")).day is None
    assert RawInput(Path("day_0.gz")).published_rows == 195_841_983
    assert RawInput(Path("day_24")).published_rows is None
    assert sum(RawInput(Path(f"day_{i}")).published_rows or 0 for i in range(24)) == 4_373_472_329


@pytest.mark.parametrize("suffix", COMPRESS)
def test_rows_are_estimated_from_a_sample(tmp_path: Path, suffix: str) -> None:
    lines = raw_lines(8000, seed=3) * 5
    source = write(tmp_path, suffix, COMPRESS[suffix](b"".join(x + b"\n" for x in lines)))
    expansion, bytes_per_line = sample_sizes(source)
    rows = source.path.stat().st_size * expansion / bytes_per_line
    assert rows == pytest.approx(40_000, rel=0.1 if suffix == ".zst" else 0.05)


def test_a_header_is_no_row(tmp_path: Path) -> None:
    lines = reczoo_lines(raw_lines(20))
    source = RawInput(write_raw(tmp_path / "x4.csv", lines))
    assert count_lines(source) == 20
    assert sample_lines(source) == lines[1:]
    (chunk,) = read_chunks(source)
    assert (chunk.start.lines, chunk.start.bytes, chunk.lines) == (0, len(lines[0]) + 1, 20)
    assert chunk.text == b"".join(line + b"\n" for line in lines[1:])
    empty = RawInput(write_raw(tmp_path / "empty.csv", lines[:1]))
    with pytest.raises(InputError, match=r"empty\.csv is empty"):
        list(read_chunks(empty))


def test_another_header_is_refused(tmp_path: Path) -> None:
    lines = reczoo_lines(raw_lines(3))
    source = RawInput(write_raw(tmp_path / "x.csv", [lines[0].replace(b"I3,", b"I4,"), *lines[1:]]))
    with pytest.raises(InputError, match=r"has the header 'label,I1,I2,I4.*name its columns label"):
        detect_layout(source)
