"""What a raw file is by its first bytes, whatever its name."""

import json
import re
import shlex
import tarfile
from collections.abc import Iterable
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
_CONVERT: Final = (
    "is {what}, not lines of fields: {extract}write it as CSV with a header, python -c {command}"
)
_OTHER: Final = "is {what}, not text: {command}"
_WRITE: Final = "write its rows as CSV with the header label,I1,…,I13,C1,…,C26"
_KINDS: Final = {
    b"PK\x03\x04": (_EXTRACT, "a compressed zip archive", "decompress it, then unzip"),
    b"7z\xbc\xaf\x27\x1c": (_EXTRACT, "a 7z archive", "7z x {path}"),
    b"Rar!\x1a\x07": (_EXTRACT, "a rar archive", "unrar x {path}"),
    b"\x04\x22\x4d\x18": (_DECOMPRESS, "lz4", "lz4 -d {path}"),
    b"\xff\x06\x00\x00sNaPpY": (_DECOMPRESS, "snappy", "snzip -d -k {path}"),
    b"\x1f\x9d": (_DECOMPRESS, "compress", "uncompress -k {path}"),
    b"PAR1": (_CONVERT, "a Parquet file", "pl.scan_parquet({file}).sink_csv({csv})"),
    b"ARROW1": (_CONVERT, "an Arrow file", "pl.scan_ipc({file}).sink_csv({csv})"),
    b"\xff\xff\xff\xff": (
        _CONVERT, "an Arrow stream", "pl.read_ipc_stream({file}).write_csv({csv})",
    ),
    b"FEA1": (
        _CONVERT, "a Feather file",
        "import pyarrow.feather as f; pl.from_arrow(f.read_table({file})).write_csv({csv})",
    ),
    b"ORC": (
        _CONVERT, "an ORC file",
        "import pyarrow.orc as o; pl.from_arrow(o.read_table({file})).write_csv({csv})",
    ),
    b"Obj\x01": (_CONVERT, "an Avro file", "pl.read_avro({file}).write_csv({csv})"),
    b"\x89HDF": (_OTHER, "an HDF5 file", _WRITE),
    b"\x93NUMPY": (_OTHER, "a NumPy file", _WRITE),
    b"SQLite format 3\x00": (_OTHER, "an SQLite database", _WRITE),
    b"%PDF-": (_OTHER, "a PDF document", "give the log itself"),
    b"\xd0\xcf\x11\xe0": (_OTHER, "an old Office file", _WRITE),
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), (_OTHER, "a Python pickle", _WRITE)
    ),
}  # fmt: skip
_PAGES: Final = (b"<!doctype html", b"<html", b"<?xml")
_JSON: Final = re.compile(rb"[{\[]\s*[\"{\[\]}]")
_MEMBERS: Final = (
    (re.compile(r"\[Content_Types\]\.xml"), "an Office file such as .xlsx"),
    (re.compile(r"[^/]+/data\.pkl"), "a file that PyTorch saved"),
    (re.compile(r".+\.npy"), "a NumPy archive (.npz)"),
)
_LFS: Final = b"version https://git-lfs"


def compression_of(head: bytes) -> str | None:
    """``gzip``, ``zstd``, ``bzip2`` or ``xz`` by a file's first bytes; None for any other."""
    if head[1:4] == _SKIPPABLE_FRAME and head[0] >> 4 == 5:
        return "zstd"
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)


def other_kind(
    head: bytes, path: Path, compression: str | None, *, packed: bool = False
) -> str | None:
    """Why a file is no log, and what to do about it; None where its first bytes may be a log's.

    Args:
        head: first `HEAD_BYTES` of the decompressed content.
        path: of the file, once it is extracted and decompressed.
        compression: what it was decompressed from.
        packed: whether it has to be extracted or decompressed first.
    """
    quoted = shlex.quote(str(path))
    for magic, (sentence, what, command) in _KINDS.items():
        if head.startswith(magic):
            if sentence is _CONVERT:
                command = _in_polars(command, path)
            else:
                command = command.format(path=quoted)
            extract = "extract it, then " if packed else ""
            return sentence.format(what=what, command=command, extract=extract)
    if compression and compression_of(head):
        return "was compressed twice: decompress it once"
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return f"is UTF-32 text: convert it (iconv -f UTF-32 -t UTF-8 {quoted})"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _has_every_other_byte_zero(head):
        return (
            f"is UTF-16 text: convert it (iconv -f UTF-16 -t UTF-8 {quoted}), "
            "without a byte order mark"
        )
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.lower().startswith(_PAGES):
        return "is a web page, perhaps of a failed download: download the log again"
    if head.startswith(_LFS):
        return "is a pointer of Git LFS, not the file itself: fetch it (git lfs pull)"
    if _JSON.match(text):
        return f"is JSON, not text of fields: {_WRITE}"
    return None


def kind_by_members(names: Iterable[str]) -> str | None:
    """Why an archive without logs is none, by its members; None where it may be one.

    Some programs save their own formats as zip archives.
    """
    for name in names:
        for pattern, what in _MEMBERS:
            if pattern.fullmatch(name):
                return f"is {what}, not text: {_WRITE}"
    return None


def _in_polars(code: str, path: Path) -> str:
    """Python code about a file and a CSV file beside it, as a shell's word."""
    file, csv = (json.dumps(str(name)) for name in (path, path.with_suffix(".csv")))
    return shlex.quote("import polars as pl; " + code.format(file=file, csv=csv))


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
