"""The same logs as people have them: plain, compressed, and in archives."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping

import pyarrow as pa

Packing = Callable[[Mapping[str, bytes]], bytes]


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: Mapping[str, bytes | tarfile.TarInfo], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive; a header in the place of a content is written alone."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def two_streams(compress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Two compressed streams, one behind the other, as parallel compressors write them."""
    return lambda content: compress(content[:9999]) + compress(content[9999:])


def zstd(content: bytes) -> bytes:
    """One frame."""
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


ARCHIVES: dict[str, Packing] = {
    "deflated.zip": zipped,
    "stored.zip": lambda files: zipped(files, zipfile.ZIP_STORED),
    "bzip2.zip": lambda files: zipped(files, zipfile.ZIP_BZIP2),
    "lzma.zip": lambda files: zipped(files, zipfile.ZIP_LZMA),
    "log.tar": tarred,
    "gnu.tar": lambda files: tarred(files, tarfile.GNU_FORMAT),
    "log.tar.gz": lambda files: gzip.compress(tarred(files)),
    "log.tgz": lambda files: two_streams(gzip.compress)(tarred(files)),
    "log.tar.bz2": lambda files: bz2.compress(tarred(files)),
    "log.tar.xz": lambda files: lzma.compress(tarred(files)),
    "log.tar.zst": lambda files: zstd(tarred(files)),
}
"""How an archive of a name holds files."""

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
