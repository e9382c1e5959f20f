"""Ways in which a file is found damaged: by a bad disk, by a copy cut short, by somebody's hand."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final


def flip(path: Path, draw: random.Random) -> str:
    """Flip one bit; where."""
    content = bytearray(path.read_bytes())
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {len(content)}"


def cut(path: Path) -> None:
    """The last byte is missing."""
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    """The second half is missing."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def lengthen(path: Path) -> None:
    """There is a byte more."""
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    """Nothing is left."""
    path.write_bytes(b"")


def zero(path: Path) -> None:
    """As long as it was, and all zeros, as some file systems leave it after a power cut."""
    path.write_bytes(bytes(path.stat().st_size))


def not_utf8(path: Path) -> None:
    """Bytes that are no text."""
    path.write_bytes(b"\xff\xfe" + path.read_bytes())


def to_folder(path: Path) -> None:
    """A folder bears its name."""
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    """A named pipe bears its name: who opens it waits for a writer that never comes."""
    path.unlink()
    os.mkfifo(path)


def remove(path: Path) -> None:
    """It is gone."""
    path.unlink()


DAMAGES: Final[dict[str, Callable[[Path], None]]] = {
    made.__name__: made
    for made in (cut, halve, lengthen, empty, zero, not_utf8, to_folder, to_pipe, remove)
}
"""By name; `flip` needs to know where."""
