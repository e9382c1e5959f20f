"""Raw inputs: which files, in what order, of which layout, and their lines in chunks.

Order is natural everywhere (digits compare as numbers, so ``day_9`` comes before ``day_10``);
`.gz` and `.zst` are decompressed on the fly, several members or frames in one file included.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.schema import BLOCK_ROWS, FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL

CHUNK_BYTES: Final = 16 << 20
"""Decompressed bytes that are parsed at a time."""

_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
_SAMPLE_LINES: Final = 100
_LONGEST_LINE: Final = 1 << 20

# Rows that Criteo published per day of the 1TB logs; together 4,373,472,329.
_TERABYTE_DAY_ROWS: Final = (
    195841983, 199563535, 196792019, 181115208, 152115810, 172548507, 204846845, 200801003,
    193772492, 198424372, 185778055, 153588700, 169003364, 194216520, 194081279, 187154596,
    177984934, 163382602, 142061091, 156534237, 193627464, 192215183, 189747893, 178274637,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A known form of raw lines."""

    name: str
    labelled: bool
    separator: bytes = b"\t"

    @property
    def separators(self) -> int:
        """Separators in a valid line."""
        return 39 if self.labelled else 38

    @property
    def separator_name(self) -> str:
        """In the plural."""
        return "tabs" if self.separator == b"\t" else "commas"


KAGGLE: Final = Layout(name="kaggle", labelled=True)
KAGGLE_UNLABELLED: Final = Layout(name="kaggle", labelled=False)
TERABYTE: Final = Layout(name="terabyte", labelled=True)
RECZOO: Final = Layout(name="reczoo", labelled=True, separator=b",")
"""Criteo_x4 of the reczoo benchmarks: the rows of Kaggle, with a header."""
_LAYOUTS: Final = {layout.name: layout for layout in (KAGGLE, TERABYTE, RECZOO)}

_HEADER: Final = ",".join([LABEL, *FEATURE_COLUMNS]).encode()
_HEADER_START: Final = b"label,"


@dataclass(frozen=True)
class RawInput:
    """One raw file."""

    path: Path

    @property
    def name(self) -> str:
        """Base name without compression suffix; the split is a function of it."""
        return self.path.stem if self.path.suffix in _COMPRESSIONS else self.path.name

    @property
    def identity(self) -> Path:
        """The same for every way to spell the path."""
        return self.path.resolve()

    @property
    def compressed(self) -> bool:
        """Whether the file must be decompressed from its start."""
        return self.path.suffix in _COMPRESSIONS

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
class Position:
    """A place between two lines of an input, and a checksum of what comes before it."""

    lines: int = 0
    bytes: int = 0
    """Decompressed."""
    crc32: int = 0
    """Of the decompressed content so far."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Whole lines of one input."""

    source: RawInput
    start: Position
    end: Position
    text: bytes
    """Ends with a newline."""
    header_lines: int = 0
    """Of the file, before its rows; ``start`` and ``end`` do not count them."""

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.end.lines - self.start.lines


def natural_key(path: Path | str) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key that compares runs of digits as numbers."""
    text = str(path)
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    numbers = [(0, int(p)) if p.isascii() and p.isdecimal() else (1, p) for p in parts]
    return numbers, text  # the text tells apart what is equal as numbers, such as 1 and 01


_BEGINNING: Final = Position()


def find_inputs(arguments: Sequence[str | Path]) -> list[RawInput]:
    """Expand files, folders and globs into raw inputs, in natural order, each once.

    Raises:
        InputError: an argument names nothing, a folder holds no file, or a folder holds a file
            both plain and compressed.
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


@contextmanager
def open_decompressed(source: RawInput) -> Iterator[IO[bytes] | Any]:
    """Open an input for reading its decompressed bytes.

    Raises:
        InputError: the file cannot be read, or its compressed stream is damaged or cut short.
    """
    compression = _COMPRESSIONS.get(source.path.suffix)
    try:
        if compression:
            with pa.input_stream(str(source.path), compression=compression) as stream:
                yield stream
        else:
            with source.path.open("rb") as stream:
                yield stream
    except FileNotFoundError:
        raise InputError(f"no such input: {source.path}") from None
    except OSError as error:
        # Arrow reports a damaged stream as a bare OSError, without an errno.
        if error.errno is None:
            raise _damaged(source, error) from error
        raise InputError(f"cannot read {source.path}: {error.strerror}") from error


def _damaged(source: RawInput, error: Exception) -> InputError:
    return InputError(
        f"{source.path} is damaged or cut short ({error}): download or compress it again; "
        "what was read before it is kept"
    )


def read_chunks(
    source: RawInput, *, unit_rows: int = BLOCK_ROWS, start: Position = _BEGINNING
) -> Iterator[Chunk]:
    """Read an input as chunks of whole lines; no chunk crosses a multiple of ``unit_rows`` lines.

    A header is passed over; a missing last newline is added. A plain file is read from ``start``
    on; a compressed one is decompressed again from its beginning.

    Raises:
        InputError: the file is damaged, empty, or holds a line of over 1 MiB.
    """
    header = header_of(source)
    position = start
    if not start.bytes:
        position = Position(bytes=len(header), crc32=zlib.crc32(header))
    with open_decompressed(source) as stream:
        if source.compressed:
            _pass_over(source, stream, position.bytes)
        else:
            stream.seek(position.bytes)
        for text in _whole_lines(source, stream):
            while text:
                part, lines, text = _split_after(text, unit_rows - position.lines % unit_rows)
                end = Position(
                    lines=position.lines + lines,
                    bytes=position.bytes + len(part),
                    crc32=zlib.crc32(part, position.crc32),
                )
                yield Chunk(
                    source=source,
                    start=position,
                    end=end,
                    text=part,
                    header_lines=len(header) > 0,
                )
                position = end
    if not position.lines:
        raise InputError(f"{source.path} is empty")


def _whole_lines(source: RawInput, stream: IO[bytes]) -> Iterator[bytes]:
    """Cut a stream into texts of about `CHUNK_BYTES` that end with a newline."""
    rest = b""
    while block := stream.read(CHUNK_BYTES):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield b"".join((rest, memoryview(block)[:cut]))
            rest = block[cut:]
        else:
            rest += block
        if len(rest) > _LONGEST_LINE:
            raise InputError(
                f"{source.path} holds a line of over 1 MiB: it is not a Criteo click log"
            )
    if rest:
        yield rest + b"\n"


def _pass_over(source: RawInput, stream: IO[bytes], count: int) -> None:
    while count:
        block = stream.read(min(count, CHUNK_BYTES))
        if not block:
            raise InputError(f"{source.path} became shorter since it was read: see --restart")
        count -= len(block)


def _split_after(text: bytes, lines: int) -> tuple[bytes, int, bytes]:
    """Cut after at most ``lines`` newlines: (head, lines in it, tail)."""
    is_end = np.frombuffer(text, np.uint8) == ord("\n")  # quicker than bytes.count
    total = int(np.count_nonzero(is_end))
    if total <= lines:
        return text, total, b""
    ends = np.flatnonzero(is_end)
    cut = int(ends[lines - 1]) + 1
    return text[:cut], lines, text[cut:]


def count_lines(source: RawInput, advance: Callable[[int], None] = lambda _: None) -> int:
    """Rows of an input, a last one without newline included; ``advance`` is told of progress."""
    lines, last = 0, b"\n"
    with open_decompressed(source) as stream:
        while block := stream.read(CHUNK_BYTES):
            found = block.count(b"\n")
            advance(found)
            lines += found
            last = block[-1:]
    return lines + (last != b"\n") - (len(header_of(source)) > 0)


_INTEGERS = rb"(?:-?[0-9]+)?"
_HEX = rb"(?:[0-9a-fA-F]{8})?"
_FEATURES = rb"\t".join([_INTEGERS] * 13 + [_HEX] * 26)
_LABELLED = re.compile(rb"[01]\t" + _FEATURES)
_UNLABELLED = re.compile(_FEATURES)


def sample_lines(source: RawInput, lines: int = _SAMPLE_LINES) -> list[bytes]:
    """The first rows of an input, without line ends."""
    with open_decompressed(source) as stream:
        head = bytes(stream.read(1 << 16))
    if not head:
        raise InputError(f"{source.path} is empty")
    found = head.removeprefix(_header_in(head, source)).split(b"\n")
    if len(found) > 1:
        found.pop()  # the last one is cut short, or empty after a final newline
    return [line.removesuffix(b"\r") for line in found[:lines]]


def header_of(source: RawInput) -> bytes:
    """The header of a file that has one, with its line end; else nothing.

    Raises:
        InputError: it names other columns than label, I1..I13, C1..C26.
    """
    with open_decompressed(source) as stream:
        return _header_in(bytes(stream.read(2 * len(_HEADER))), source)


def _header_in(head: bytes, source: RawInput) -> bytes:
    if not head.startswith(_HEADER_START):
        return b""
    line, newline, _ = head.partition(b"\n")
    if line.removesuffix(b"\r") != _HEADER:
        found = line[:80].decode(errors="backslashreplace")
        raise InputError(
            f"{source.path} has the header {found!r}…, expected {_HEADER[:20].decode()!r} … "
            f"{_HEADER[-8:].decode()!r}: name its columns label, I1 to I13, C1 to C26 in this order"
        )
    return line + newline


def detect_layout(source: RawInput) -> Layout:
    """Recognise an input's layout from its first lines.

    Raises:
        InputError: most of the first lines are in no known layout; the message says what they are.
    """
    if header_of(source):
        return RECZOO
    lines = sample_lines(source)
    # A line that lost trailing tabs still tells its layout by what its fields look like.
    labelled = sum(bool(_LABELLED.fullmatch(_padded(line, 39))) for line in lines)
    unlabelled = sum(bool(_UNLABELLED.fullmatch(_padded(line, 38))) for line in lines)
    if max(labelled, unlabelled) * 2 < len(lines):
        fields = sorted({line.count(b"\t") + 1 for line in lines})
        raise InputError(
            f"{source.path} is not a Criteo click log: its first lines have "
            f"{' or '.join(map(str, fields[:3]))} tab-separated fields and do not look like "
            "[label] + 13 integers + 26 categoricals of 8 hex digits; "
            "expected 40 fields (39 without label)"
        )
    if unlabelled > labelled:
        return KAGGLE_UNLABELLED
    return TERABYTE if source.day is not None else KAGGLE


def _padded(line: bytes, tabs: int) -> bytes:
    """A line with the trailing tabs that it may have lost; others than such stay as they are."""
    found = line.count(b"\t")
    return line + b"\t" * (tabs - found) if len(INTEGER_COLUMNS) <= found < tabs else line


def layout_of(inputs: Sequence[RawInput], wanted: str = "auto") -> Layout:
    """The one layout of all inputs; ``wanted`` names it or is ``auto``.

    Raises:
        InputError: an input is in no known layout, or two inputs differ.
        UsageError: ``wanted`` is not a known layout.
    """
    if wanted != "auto" and wanted not in _LAYOUTS:
        raise UsageError(f"--layout {wanted} is not known: use auto, {', '.join(_LAYOUTS)}")
    layouts = [detect_layout(source) for source in inputs]
    for source, layout in zip(inputs, layouts, strict=True):
        if layout.labelled != layouts[0].labelled:
            raise InputError(
                f"{inputs[0].path} has {layouts[0].separators + 1} fields a line, "
                f"{source.path} has {layout.separators + 1}: give labelled and unlabelled "
                "inputs to separate runs"
            )
        if layout.separator != _LAYOUTS.get(wanted, layouts[0]).separator:
            named = f"--layout {wanted}" if wanted in _LAYOUTS else str(inputs[0].path)
            raise InputError(
                f"{source.path} is of the layout {layout.name}, which does not go with {named}: "
                "give inputs of one layout"
            )
    if not layouts[0].labelled:
        return KAGGLE_UNLABELLED
    if wanted == "auto":
        same = all(layout == layouts[0] for layout in layouts)
        return layouts[0] if same else KAGGLE
    return _LAYOUTS[wanted]


def sample_sizes(source: RawInput) -> tuple[float, float]:
    """From an input's beginning: decompressed bytes a byte on disk, and bytes a line."""
    size = source.path.stat().st_size
    with open_decompressed(source) as stream:
        head = stream.read(CHUNK_BYTES // 2)
    bytes_per_line = len(head) / max(1, head.count(b"\n"))
    if not source.compressed:
        return 1.0, bytes_per_line
    if len(head) < CHUNK_BYTES // 2:
        return len(head) / size, bytes_per_line
    # Such text compresses alike everywhere: compressing some of it again tells the ratio.
    piece = bytes(head[: 1 << 20])
    return len(piece) / len(zlib.compress(piece, 6)), bytes_per_line
