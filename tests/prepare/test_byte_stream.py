"""The bytes of an input in pieces, from any place on, and how much of its file they are."""

import gzip
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.open_input import open_decompressed
from tests.support.archives import ARCHIVES, COMPRESSIONS, two_streams

KINDS = {"plain": bytes, **COMPRESSIONS, "two.gz": two_streams(gzip.compress)}
MEMBERS = ("log.tar", "stored.zip", "deflated.zip", "log.tar.gz", "log.tgz")
contents = st.binary(min_size=1, max_size=3000).map(lambda part: part * 13)


def source_of(kind: str, content: bytes, folder: Path) -> RawInput:
    path = folder / "file"
    if kind in MEMBERS:
        path.write_bytes(ARCHIVES[kind]({"other": b"theirs\n" * 99, "day": content, "z": b"z\n"}))
        return RawInput(path, member="day")
    path.write_bytes(KINDS[kind](content))
    return RawInput(path)


@pytest.mark.parametrize("kind", [*KINDS, *MEMBERS])
@settings(max_examples=60)
@given(content=contents, data=st.data())
def test_pieces_are_the_content_from_any_place_on(
    kind: str, content: bytes, data: st.DataObject
) -> None:
    content = b"a line\n" + content  # or it might be of another kind
    at = data.draw(st.integers(0, len(content)))
    size = data.draw(st.integers(1, len(content) + 10))
    peeked = data.draw(st.integers(0, len(content) + 10))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        source = source_of(kind, content, Path(folder))
        stream = stack.enter_context(open_decompressed(source, at))
        assert stream.peek(peeked) == content[at : at + peeked]
        begun = stream.read(3)
        pieces = list(stream.pieces(size))
        if kind == "plain":  # read by position: in any order, by any thread
            pool = stack.enter_context(ThreadPoolExecutor(4))
            parts = list(pool.map(lambda piece: piece.read(), pieces[::-1]))[::-1]
        else:
            parts = [piece.read() for piece in pieces]
    assert begun + b"".join(parts) == content[at:]
    assert all(len(part) == size for part in parts[:-1])
    shares = [piece.share for piece in pieces]
    if None in shares:  # a member that is compressed together with others
        assert set(shares) == {None}
        assert kind in MEMBERS
        return
    known = [share for share in shares if share is not None]
    assert known == sorted(known), "the share decreases"
    assert all(0 < share <= 1 for share in known)
    # A compressed stream's end may be read only when more is asked for.
    if known and (kind in ("plain", "log.tar", "stored.zip") or len(parts[-1]) < size):
        assert known[-1] == 1.0


@pytest.mark.parametrize("kind", ["log.tar", "stored.zip", "deflated.zip"])
def test_the_share_of_a_member_is_of_its_own_content(kind: str, tmp_path: Path) -> None:
    source = source_of(kind, b"a line\n" * 1000, tmp_path)
    with open_decompressed(source) as stream:
        assert [piece.share for piece in stream.pieces(1750)] == [0.25, 0.5, 0.75, 1.0]


def test_a_plain_file_that_became_shorter_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "day"
    path.write_bytes(b"a line\n" * 1000)
    with open_decompressed(RawInput(path)) as stream:
        pieces = list(stream.pieces(1750))
        path.write_bytes(b"a line\n" * 300)
        assert [len(piece.read()) for piece in pieces] == [1750, 350, 0, 0]
