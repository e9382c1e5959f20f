import zlib

from hypothesis import example, given
from hypothesis import strategies as st

from criteo_stream.raw.crc import crc32_of_both


@given(st.binary(max_size=2000), st.binary(max_size=2000))
@example(b"", b"")
@example(b"a", b"")
@example(b"", b"a")
@example(b"\0" * 100, b"\0" * 100)
def test_two_checksums_make_one(first: bytes, second: bytes) -> None:
    combined = crc32_of_both(zlib.crc32(first), zlib.crc32(second), len(second))
    assert combined == zlib.crc32(first + second)


def test_a_long_second_text() -> None:
    zeros = bytes(1 << 20)
    crc, length = zlib.crc32(zeros), 1 << 20
    for _ in range(4):  # 16 times as long each time, to 64 GiB
        for _ in range(4):
            crc, length = crc32_of_both(crc, crc, length), 2 * length
    expected = 0
    for _ in range(4096):
        expected = zlib.crc32(zeros, expected)
    again = zlib.crc32(zeros)
    for _ in range(4095):
        again = crc32_of_both(again, zlib.crc32(zeros), 1 << 20)
    assert again == expected
