"""Opening a raw input as a stream of decompressed bytes: the only place that knows how.

`.gz` and `.zst` are decompressed on the fly, several members or frames in one file included.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import pyarrow as pa

from criteo_stream.base.errors import InputError
from criteo_stream.prepare.inputs import RawInput

_SKIP_BYTES: Final = 16 << 20
"""Decompressed bytes that are skipped at a time."""


@contextmanager
def open_decompressed(source: RawInput, at: int = 0) -> Iterator[IO[bytes] | Any]:
    """Open an input for reading its decompressed bytes.

    Args:
        source: the input.
        at: decompressed bytes to skip. A plain file is not read up to there; a compressed one is
            decompressed from its beginning.

    Raises:
        InputError: the file cannot be read, is shorter than ``at``, or its compressed stream is
            damaged or cut short. What is raised while the stream is open counts too.
    """
    try:
        if source.compression:
            with pa.input_stream(str(source.path), compression=source.compression) as stream:
                _skip(source, stream, at)
                yield stream
        else:
            with source.path.open("rb") as stream:
                stream.seek(at)
                yield stream
    except FileNotFoundError:
        raise InputError(f"no such input: {source.path}") from None
    except OSError as error:
        # Arrow reports a damaged stream as a bare OSError, without an errno.
        if error.errno is None:
            raise InputError(
                f"{source.path} is damaged or cut short ({error}): download or compress it again; "
                "what was read before it is kept"
            ) from error
        raise InputError(f"cannot read {source.path}: {error.strerror}") from error


def _skip(source: RawInput, stream: IO[bytes], count: int) -> None:
    while count:
        skipped = stream.read(min(count, _SKIP_BYTES))
        if not skipped:
            raise InputError(f"{source.path} became shorter since it was read: see --restart")
        count -= len(skipped)
