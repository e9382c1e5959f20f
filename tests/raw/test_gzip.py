"""Gzip by Arrow and by ISA-L, which takes its place where it is installed: the same verdicts."""

import gzip
import random
from pathlib import Path

import pytest

from criteo_stream.base.errors import InputError
from criteo_stream.raw import decompress
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.open_input import open_decompressed
from tests.support.raw_lines import raw_lines

pytest.importorskip("isal")
TEXT = b"".join(line + b"\n" for line in raw_lines(3000, seed=7))
HALF = TEXT.index(b"\n", len(TEXT) // 2) + 1
TWO = gzip.compress(TEXT[:HALF], 6, mtime=0) + gzip.compress(TEXT[HALF:], 1, mtime=0)


def read(path: Path, size: int) -> bytes | None:
    """The content; None where it is refused."""
    found = []
    try:
        with open_decompressed(RawInput(path)) as stream:
            while part := stream.read(size):
                found.append(part)
    except InputError as error:
        return None if "is damaged or cut short" in str(error) else b"another error"
    return b"".join(found)


def both(path: Path, size: int = 100_000) -> tuple[bytes | None, bytes | None]:
    """By ISA-L and by Arrow."""
    by_isal = read(path, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(decompress._DECODERS, "gzip")
        return by_isal, read(path, size)


@pytest.mark.parametrize("size", [1, 1000, 1 << 24])
def test_several_members_are_one_content(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log.gz"
    text = TEXT[:5000] if size == 1 else TEXT
    path.write_bytes(gzip.compress(text) + gzip.compress(b"") + gzip.compress(text))
    assert both(path, size) == (text * 2, text * 2)


@pytest.mark.parametrize("behind", [b"\0", b"\0" * 1000, b"garbage", TWO[:5], b"\x1f"], ids=len)
def test_what_stands_behind_the_end_is_damage(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(TWO + behind)
    assert both(path) == (None, None)


def test_a_cut_at_any_place_and_a_flipped_bit_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    choose = random.Random(5)
    first = len(gzip.compress(TEXT[:HALF], 6, mtime=0))
    for _ in range(150):
        cut = choose.randrange(1, len(TWO))
        path.write_bytes(TWO[:cut])
        expected = TEXT[:HALF] if cut == first else None  # that is a whole file
        assert read(path, 100_000) == expected
        place = choose.randrange(10, len(TWO))
        flipped = bytearray(TWO)
        flipped[place] ^= 1 << choose.randrange(8)
        path.write_bytes(flipped)
        # What a header says of its file, such as a time, is not part of the content.
        assert read(path, 100_000) in (None, TEXT)
