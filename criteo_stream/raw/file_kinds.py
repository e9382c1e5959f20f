"""What a raw file is by its first bytes, whatever its name."""

import shlex
import tarfile
from pathlib import Path
from typing import Final

HEAD_BYTES: Final = tarfile.BLOCKSIZE
"""First bytes that tell the kind of a file."""

_COMPRESSIONS: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""A first member, or the end of an archive that has none."""
_SKIPPABLE_FRAME: Final = b"\x2a\x4d\x18"
"""Behind a byte 0x50 to 0x5f, the beginning of a zstd frame that holds no data."""

_EXTRACT: Final = "is {what}: extract it ({command}) and give the logs that it held"
_DECOMPRESS: Final = "is compressed by {what}: decompress it first ({command})"
_CONVERT: Final = "is {what}, not text: write its rows as lines of tab-separated fields first"
_KINDS: Final = {
    b"PK\x03\x04": (_EXTRACT, "a compressed zip archive", "decompress it, then unzip"),
    b"7z\xbc\xaf\x27\x1c": (_EXTRACT, "a 7z archive", "7z x {path}"),
    b"Rar!\x1a\x07": (_EXTRACT, "a rar archive", "unrar x {path}"),
    b"\x04\x22\x4d\x18": (_DECOMPRESS, "lz4", "lz4 -d {path}"),
    b"\xff\x06\x00\x00sNaPpY": (_DECOMPRESS, "snappy", "snzip -d -k {path}"),
    b"\x1f\x9d": (_DECOMPRESS, "compress", "uncompress -k {path}"),
    b"PAR1": (_CONVERT, "a Parquet file", ""),
    b"ORC": (_CONVERT, "an ORC file", ""),
    b"Obj\x01": (_CONVERT, "an Avro file", ""),
    b"ARROW1": (_CONVERT, "an Arrow file", ""),
    b"\x89HDF": (_CONVERT, "an HDF5 file", ""),
    b"\x93NUMPY": (_CONVERT, "a NumPy file", ""),
}
_PAGES: Final = (b"<!doctype html", b"<html", b"<?xml")
_LFS: Final = b"version https://git-lfs"


def compression_of(head: bytes) -> str | None:
    """``gzip``, ``zstd``, ``bzip2`` or ``xz`` by a file's first bytes; None for any other."""
    if head[1:4] == _SKIPPABLE_FRAME and head[0] >> 4 == 5:
        return "zstd"
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)


def other_kind(head: bytes, path: Path, compression: str | None) -> str | None:
    """Why a file is no log, and what to do about it; None where its first bytes may be a log's.

    Args:
        head: first `HEAD_BYTES` of the decompressed content.
        path: of the file.
        compression: what it was decompressed from.
    """
    quoted = shlex.quote(str(path))
    for magic, (sentence, what, command) in _KINDS.items():
        if head.startswith(magic):
            return sentence.format(what=what, command=command.format(path=quoted))
    if compression and compression_of(head):
        return "was compressed twice: decompress it once"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _has_every_other_byte_zero(head):
        return (
            f"is UTF-16 text: convert it (iconv -f UTF-16 -t UTF-8 {quoted}), "
            "without a byte order mark"
        )
    if head.lower().startswith(_PAGES):
        return "is a web page, perhaps of a failed download: download the log again"
    if head.startswith(_LFS):
        return "is a pointer of Git LFS, not the file itself: fetch it (git lfs pull)"
    return None


def is_zip(head: bytes) -> bool:
    """Whether a file that begins so is a zip archive."""
    return head.startswith(_ZIP)


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar archive.

    By the checksum of a member's header, which archives older than ``ustar`` have too.
    """
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _has_every_other_byte_zero(head: bytes) -> bool:
    return len(head) > 3 and any(head[0:64:2]) != any(head[1:64:2])


def is_text(head: bytes) -> bool:
    """Whether a file that begins so may be text, rather than a damaged or unknown format."""
    return not any(byte < 32 and byte not in b"\t\n\r" for byte in head)
