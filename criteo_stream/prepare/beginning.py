"""The beginning of a raw input, read once: it tells the layout, and how many rows to expect."""

import zlib
from dataclasses import dataclass, field
from typing import Final

from criteo_stream.base.errors import InputError
from criteo_stream.prepare.inputs import RawInput
from criteo_stream.prepare.open_input import open_decompressed

_SAMPLE_BYTES: Final = 8 << 20
"""Decompressed bytes that the estimates are made from."""
_HEAD_BYTES: Final = 1 << 16
"""Decompressed bytes that are kept: far more than a header and some rows take."""
_COMPRESSED_AGAIN: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Facts from the first bytes of an input; made by `read_beginning`."""

    source: RawInput
    head: bytes = field(repr=False)
    """The first bytes of the decompressed content, at least one."""
    file_bytes: int
    """Size on disk."""
    expansion: float
    """Decompressed bytes per byte on disk; an estimate for a compressed file."""
    bytes_per_line: float
    """Decompressed."""

    @property
    def estimated_rows(self) -> int:
        """About how many rows the whole input has."""
        return round(self.file_bytes * self.expansion / self.bytes_per_line)


def read_beginning(source: RawInput) -> Beginning:
    """Open an input and read its first bytes.

    Raises:
        InputError: the input is empty, cannot be read, or its compressed stream is damaged.
    """
    with open_decompressed(source) as stream:
        sample = bytes(stream.read(_SAMPLE_BYTES))
    if not sample:
        raise InputError(f"{source.path} is empty")
    size = source.path.stat().st_size
    return Beginning(
        source=source,
        head=sample[:_HEAD_BYTES],
        file_bytes=size,
        expansion=_expansion(sample, size) if source.compression else 1.0,
        bytes_per_line=len(sample) / max(1, sample.count(b"\n")),
    )


def _expansion(sample: bytes, file_bytes: int) -> float:
    if len(sample) < _SAMPLE_BYTES:  # the whole content
        return len(sample) / file_bytes
    # Such text compresses alike everywhere: compressing some of it again shows the ratio.
    piece = sample[:_COMPRESSED_AGAIN]
    return len(piece) / len(zlib.compress(piece, 6))
