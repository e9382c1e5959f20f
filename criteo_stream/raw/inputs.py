"""Raw inputs: which files, and in what order.

Natural order compares digits as numbers: ``day_9`` comes before ``day_10``. It is the order within
a folder or glob, and that of arguments in plain alphabetical order, as a shell writes a glob's.
Arguments in any other order were put so by a person, and keep it.
"""

import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from glob import escape, glob, has_magic
from pathlib import Path, PurePosixPath
from typing import Final

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.data.folder import DataFolder
from criteo_stream.raw.members import MARK, plain_name

COMPRESSED_SUFFIXES: Final = (".gz", ".zst", ".bz2", ".xz")
STDIN: Final = Path("-")
"""Stands for standard input; a file of this name is ``./-``."""
_NAMED_AT_ONCE: Final = 3

# Rows that Criteo published per day of the 1TB logs; together 4,373,472,329.
_TERABYTE_DAY_ROWS: Final = (
    195841983, 199563535, 196792019, 181115208, 152115810, 172548507, 204846845, 200801003,
    193772492, 198424372, 185778055, 153588700, 169003364, 194216520, 194081279, 187154596,
    177984934, 163382602, 142061091, 156534237, 193627464, 192215183, 189747893, 178274637,
)  # fmt: skip


@dataclass(frozen=True)
class RawInput:
    """One raw file, a member of an archive, or a stream that is read once."""

    path: Path
    """Of the file, or of the archive."""
    member: str | None = None
    """Name of the member in the archive."""
    is_stream: bool = field(default=False, kw_only=True)
    """Whether it is standard input or a pipe."""
    is_named: bool = field(default=True, kw_only=True, compare=False)
    """Whether the user named the file itself, not a folder or glob that it was found in."""

    def __str__(self) -> str:
        """As the user may name it."""
        return str(self.path) if self.member is None else f"{self.path}{MARK}{self.member}"

    @property
    def name(self) -> str:
        """Base name without compression suffix; the split is a function of it.

        That of a member is the name that it has when it is extracted.
        """
        path = self.path if self.member is None else PurePosixPath(self.member)
        return path.stem if path.suffix in COMPRESSED_SUFFIXES else path.name

    @property
    def short(self) -> str:
        """Base name, behind that of its archive, for where there is little room."""
        return self.path.name if self.member is None else f"{self.path.name}{MARK}{self.member}"

    @property
    def identity(self) -> Path:
        """The same for every way to spell the path; it is what the manifest records.

        That of a member is no path that exists: its archive's, and its name behind it.
        """
        if self.is_stream:
            return self.path
        path = self.path.resolve()
        return path if self.member is None else Path(f"{path}{MARK}{self.member}")

    @property
    def extracted(self) -> Path:
        """Where it lies, or would lie when it is extracted beside its archive, decompressed."""
        if self.member is None:
            return self.path.with_name(self.name).resolve()
        return self.path.parent.resolve() / PurePosixPath(self.member).parent / self.name

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


def natural_key(path: Path | str) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key that compares runs of digits as numbers."""
    text = str(path)
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    numbers = [(0, int(p)) if p.isascii() and p.isdecimal() else (1, p) for p in parts]
    return numbers, text  # the text tells apart what is equal as numbers, such as 1 and 01


def find_inputs(
    arguments: Sequence[str | Path],
    also: Sequence[str | Path] = (),
    *,
    streams: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[RawInput]:
    """Expand files, folders and globs into raw inputs, each once.

    Args:
        arguments: in an order that counts, see the module.
        also: files, folders or globs that options name, in no order of their own.
        streams: whether standard input (``-``) and pipes will do.
        tell: hears of what is passed over and holds no rows, such as ``_SUCCESS``.
        warn: hears of folders within a folder, which are passed over.

    Raises:
        InputError: an argument names nothing or no file, a folder holds no file, or inputs are
            the same log twice, see `refuse_twins`.
        UsageError: there are no arguments.
    """
    expand = _Expansion(streams=streams, tell=tell, warn=warn)
    texts = [str(argument) for argument in arguments]
    groups = [expand(text) for text in texts]
    others = [source for argument in also for source in expand(str(argument))]
    if _is_plain_order(texts):
        groups = [sorted([s for group in (*groups, others) for s in group], key=_place)]
    found: dict[Path, RawInput] = {}
    for source in [s for group in groups for s in group] + sorted(others, key=_place):
        found.setdefault(source.identity, source)
    if not found:
        raise UsageError("no input given: name raw files, folders or globs")
    refuse_twins(found.values())
    return list(found.values())


def _place(source: RawInput) -> tuple[object, object]:
    return natural_key(source.path), natural_key(source.member or "")


def _is_plain_order(texts: Sequence[str]) -> bool:
    """Whether a shell may have put them so: by bytes, or as most languages sort."""
    return any(list(texts) == sorted(texts, key=key) for key in (str, str.casefold))


def refuse_twins(sources: Iterable[RawInput]) -> None:
    """Refuse a log that is there twice: plain and compressed, or in an archive and beside it.

    Raises:
        InputError: names the first two such.
    """
    names: dict[tuple[Path, Path | None], RawInput] = {}
    for source in sorted(sources, key=lambda s: s.member is not None):  # plain files first
        place = source.extracted
        archive = None if source.member is None else source.path.resolve()
        twin = names.get((place, None)) or names.setdefault((place, archive), source)
        if twin is not source:
            raise InputError(
                f"{twin} and {source} are the same log twice by their names: give one of them"
            )


@dataclass(frozen=True, kw_only=True)
class _Expansion:
    """One argument to its files, in natural order."""

    streams: bool
    tell: Callable[[str], None]
    warn: Callable[[str], None]

    def __call__(self, argument: str) -> list[RawInput]:
        if argument == str(STDIN):
            return self._file(STDIN)
        path = user_path(argument)
        if path.is_dir():
            return self._in_folder(path)
        if path.exists():
            return self._file(path)
        found = _matching(str(path)) if has_magic(argument) else []
        if found:
            return [RawInput(p, is_named=False) for p in sorted(found, key=natural_key)]
        if (archive := self._member(argument)) is not None:
            return archive
        raise InputError(f"no such input: {argument}")

    def _member(self, argument: str) -> list[RawInput] | None:
        """A member of an archive; None where no file comes before a mark."""
        at = argument.find(MARK)
        while at > 0:
            path, name = user_path(argument[:at]), plain_name(argument[at + len(MARK) :])
            if path.exists() and name:
                if path.is_dir():
                    raise InputError(f"{path} is a folder, not an archive: name the files in it")
                return [replace(source, member=name) for source in self._file(path)]
            at = argument.find(MARK, at + 1)
        return None

    def _file(self, path: Path) -> list[RawInput]:
        kind = "a pipe" if path == STDIN else _kind(path)
        if kind == "a file":
            return [RawInput(path)]
        if self.streams and kind == "a pipe":
            return [RawInput(path, is_stream=True)]
        name = "- (standard input)" if path == STDIN else str(path)
        if kind == "a pipe":
            raise InputError(
                f"{name} is a pipe, and inputs are read more than once: write it to a file first "
                "(compressed files and archives are read as they are)"
            )
        raise InputError(f"{name} is {kind}, not a file")

    def _in_folder(self, folder: Path) -> list[RawInput]:
        if DataFolder(folder).manifest.exists():
            raise InputError(
                f"{folder} is a prepared data set, not raw logs: train on it (criteo-stream train "
                f"{folder} --out RUN), or name the logs that it was made from"
            )
        entries = sorted(folder.iterdir(), key=natural_key)
        hidden = [path for path in entries if path.name.startswith((".", "_"))]
        shown = [path for path in entries if path not in hidden]
        folders = [path for path in shown if path.is_dir()]
        others = [path for path in shown if not (path.is_file() or path.is_dir())]
        files = [RawInput(path, is_named=False) for path in shown if path.is_file()]
        deeper = f"{escape(str(folder))}/**"
        if not files:
            inside = f" but the folder {_listed(folders)}: '{deeper}' reads them" if folders else ""
            raise InputError(f"no such input: {folder} holds no file{inside}")
        if aside := [*hidden, *others]:
            self.tell(f"{folder}: {_listed(aside)} passed over")
        if folders:
            self.warn(
                f"{folder}: the folder {_listed(folders)} is passed over; '{deeper}' reads it too"
            )
        return files


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = {stat.S_IFREG: "a file", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _matching(pattern: str) -> list[Path]:
    """Files that a glob matches; such as ``_SUCCESS`` only where it asks for them."""
    asked = [part for part in Path(pattern).parts if part.startswith("_")]

    def is_hidden(path: Path) -> bool:
        return any(
            part.startswith("_") and not any(fnmatchcase(part, p) for p in asked)
            for part in path.parts
        )

    found = map(Path, glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    return [path for path in found if path.is_file() and not is_hidden(path)]


def _listed(paths: Sequence[Path]) -> str:
    names = [path.name for path in paths]
    if len(names) > _NAMED_AT_ONCE:
        more = len(names) - _NAMED_AT_ONCE + 1
        names = [*names[: _NAMED_AT_ONCE - 1], f"{more} more"]
    return ", ".join(names)
