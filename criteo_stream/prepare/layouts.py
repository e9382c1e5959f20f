"""The known forms of raw lines, and which of them an input has by its beginning."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.prepare.beginning import Beginning

_SAMPLE_LINES: Final = 100


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
        """The separator's name in the plural."""
        return "tabs" if self.separator == b"\t" else "commas"


KAGGLE: Final = Layout(name="kaggle", labelled=True)
KAGGLE_UNLABELLED: Final = Layout(name="kaggle", labelled=False)
TERABYTE: Final = Layout(name="terabyte", labelled=True)
RECZOO: Final = Layout(name="reczoo", labelled=True, separator=b",")
"""Criteo_x4 of the reczoo benchmarks: the rows of Kaggle, with a header."""
LAYOUTS: Final = {layout.name: layout for layout in (KAGGLE, TERABYTE, RECZOO)}
"""The layouts that a user may name."""

_HEADER: Final = ",".join([LABEL, *FEATURE_COLUMNS]).encode()
_HEADER_START: Final = b"label,"

_INTEGERS = rb"(?:-?[0-9]+)?"
_HEX = rb"(?:[0-9a-fA-F]{8})?"
_FEATURES = rb"\t".join([_INTEGERS] * 13 + [_HEX] * 26)
_LABELLED = re.compile(rb"[01]\t" + _FEATURES)
_UNLABELLED = re.compile(_FEATURES)


def header_of(beginning: Beginning) -> bytes:
    """The header of an input that has one, with its line end; else nothing.

    Raises:
        InputError: it names other columns than label, I1..I13, C1..C26.
    """
    if not beginning.head.startswith(_HEADER_START):
        return b""
    line, newline, _ = beginning.head.partition(b"\n")
    if line.removesuffix(b"\r") != _HEADER:
        found = line[:80].decode(errors="backslashreplace")
        raise InputError(
            f"{beginning.source.path} has the header {found!r}…, expected "
            f"{_HEADER[:20].decode()!r} … {_HEADER[-8:].decode()!r}: "
            "name its columns label, I1 to I13, C1 to C26 in this order"
        )
    return line + newline


def sample_lines(beginning: Beginning) -> list[bytes]:
    """The first rows of an input, at most 100, without line ends."""
    found = beginning.head.removeprefix(header_of(beginning)).split(b"\n")
    if len(found) > 1:
        found.pop()  # the last one is cut short, or empty after a final newline
    return [line.removesuffix(b"\r") for line in found[:_SAMPLE_LINES]]


def detect_layout(beginning: Beginning) -> Layout:
    """Recognise an input's layout from its first lines.

    Raises:
        InputError: most of the first lines are in no known layout; the message says what they are.
    """
    if header_of(beginning):
        return RECZOO
    lines = sample_lines(beginning)
    # A line that lost trailing tabs still tells its layout by what its fields look like.
    labelled = sum(bool(_LABELLED.fullmatch(_padded(line, 39))) for line in lines)
    unlabelled = sum(bool(_UNLABELLED.fullmatch(_padded(line, 38))) for line in lines)
    if max(labelled, unlabelled) * 2 < len(lines):
        fields = sorted({line.count(b"\t") + 1 for line in lines})
        raise InputError(
            f"{beginning.source.path} is not a Criteo click log: its first lines have "
            f"{' or '.join(map(str, fields[:3]))} tab-separated fields and do not look like "
            "[label] + 13 integers + 26 categoricals of 8 hex digits; "
            "expected 40 fields (39 without label)"
        )
    if unlabelled > labelled:
        return KAGGLE_UNLABELLED
    return TERABYTE if beginning.source.day is not None else KAGGLE


def _padded(line: bytes, tabs: int) -> bytes:
    """A line with the trailing tabs that it may have lost; others than such stay as they are."""
    found = line.count(b"\t")
    return line + b"\t" * (tabs - found) if len(INTEGER_COLUMNS) <= found < tabs else line


def layout_of(beginnings: Sequence[Beginning], wanted: str = "auto") -> Layout:
    """The one layout of all inputs; ``wanted`` names it or is ``auto``.

    Raises:
        InputError: an input is in no known layout, or two inputs differ.
        UsageError: ``wanted`` is not a known layout.
    """
    if wanted != "auto" and wanted not in LAYOUTS:
        raise UsageError(f"--layout {wanted} is not known: use auto, {', '.join(LAYOUTS)}")
    layouts = [detect_layout(beginning) for beginning in beginnings]
    first = beginnings[0].source.path
    for beginning, layout in zip(beginnings, layouts, strict=True):
        path = beginning.source.path
        if layout.labelled != layouts[0].labelled:
            raise InputError(
                f"{first} has {layouts[0].separators + 1} fields a line, "
                f"{path} has {layout.separators + 1}: give labelled and unlabelled "
                "inputs to separate runs"
            )
        if layout.separator != LAYOUTS.get(wanted, layouts[0]).separator:
            named = f"--layout {wanted}" if wanted in LAYOUTS else str(first)
            raise InputError(
                f"{path} is of the layout {layout.name}, which does not go with {named}: "
                "give inputs of one layout"
            )
    if not layouts[0].labelled:
        return KAGGLE_UNLABELLED
    if wanted == "auto":
        same = all(layout == layouts[0] for layout in layouts)
        return layouts[0] if same else KAGGLE
    return LAYOUTS[wanted]
