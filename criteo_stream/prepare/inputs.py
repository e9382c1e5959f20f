"""Raw inputs: which files, and in what order.

Order is natural everywhere: digits compare as numbers, so ``day_9`` comes before ``day_10``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import InputError, UsageError

_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}

# Rows that Criteo published per day of the 1TB logs; together 4,373,472,329.
_TERABYTE_DAY_ROWS: Final = (
    195841983, 199563535, 196792019, 181115208, 152115810, 172548507, 204846845, 200801003,
    193772492, 198424372, 185778055, 153588700, 169003364, 194216520, 194081279, 187154596,
    177984934, 163382602, 142061091, 156534237, 193627464, 192215183, 189747893, 178274637,
)  # fmt: skip


@dataclass(frozen=True)
class RawInput:
    """One raw file."""

    path: Path

    @property
    def name(self) -> str:
        """Base name without compression suffix; the split is a function of it."""
        return self.path.stem if self.compression else self.path.name

    @property
    def identity(self) -> Path:
        """The same for every way to spell the path."""
        return self.path.resolve()

    @property
    def compression(self) -> str | None:
        """``gzip`` or ``zstd``, by the suffix; None for a plain file."""
        return _COMPRESSIONS.get(self.path.suffix)

    @property
    def day(self) -> int | None:
        """The number of a 1TB day file (``day_7`` → 7), else None."""
        match = re.fullmatch(r"day_(\d+)", self.name)
        return int(match[1]) if match else None

    @property
    def published_rows(self) -> int | None:
        """Rows that a complete download of this 1TB day has."""
        day = self.day
        return _TERABYTE_DAY_ROWS[day] if day is not None and day < 24 else None


@dataclass(frozen=True, kw_only=True)
class InputState:
    """Shows whether a file was touched since: a write always moves ``ctime_ns``."""

    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "InputState":
        """The state of a file now."""
        stat = path.stat()
        return cls(
            bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            ctime_ns=stat.st_ctime_ns,
            inode=stat.st_ino,
        )


def natural_key(path: Path | str) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key that compares runs of digits as numbers."""
    text = str(path)
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    numbers = [(0, int(p)) if p.isascii() and p.isdecimal() else (1, p) for p in parts]
    return numbers, text  # the text tells apart what is equal as numbers, such as 1 and 01


def find_inputs(arguments: Sequence[str | Path]) -> list[RawInput]:
    """Expand files, folders and globs into raw inputs, in natural order, each once.

    Raises:
        InputError: an argument names nothing, a folder holds no file, or a folder holds a file
            both plain and compressed.
        UsageError: there are no arguments.
    """
    paths: dict[Path, Path] = {}
    for argument in arguments:
        found = _expand(str(argument))
        if not found:
            raise InputError(f"no such input: {argument}")
        for path in found:
            paths.setdefault(path.resolve(), path)
    if not paths:
        raise UsageError("no input given: name raw files, folders or globs")
    inputs = [RawInput(p) for p in sorted(paths.values(), key=natural_key)]
    names: dict[Path, RawInput] = {}
    for source in inputs:
        twin = names.setdefault(source.path.with_name(source.name).resolve(), source)
        if twin is not source:
            raise InputError(
                f"{twin.path} and {source.path} are the same log twice by their names: "
                "give one of them"
            )
    return inputs


def _expand(argument: str) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        return [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    if path.exists():
        return [path]
    if has_magic(argument):
        found = glob(argument, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        return [Path(p) for p in found if Path(p).is_file()]
    return []
