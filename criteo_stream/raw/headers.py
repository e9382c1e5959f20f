"""Headers: a first line that names the columns, and why one names others than the known ones."""

import re
from collections.abc import Sequence
from typing import Final

from criteo_stream.base.errors import InputError
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.layouts import FORMS, ID, Layout
from criteo_stream.raw.malformed import BYTE_ORDER_MARK, quoted
from criteo_stream.raw.separators import other_separator, separator_of

_SAMPLE_LINES: Final = 100
_HEADERS: Final = {
    form.separator.join(column.lower().encode() for column in form.columns): form for form in FORMS
}
_KNOWN: Final = frozenset(column.lower() for column in (ID, LABEL, *FEATURE_COLUMNS))
_NAME: Final = re.compile(r"[A-Za-z_][\w .:-]*")


def header_of(beginning: Beginning) -> bytes:
    """The header of an input that has one, with its line end; else nothing.

    Raises:
        InputError: it names other columns than the known ones.
    """
    line, newline, _ = beginning.head.partition(b"\n")
    if _layout_named_by(line) is not None:
        return line + newline
    plain = _plain(line)
    if _looks_like_names(_names(plain)):
        raise InputError(
            f"{beginning.source}, line 1: {_difference(plain)}; columns are label, I1 to I13, "
            "C1 to C26 in this order, behind Id if there is one, without label if there is none"
        )
    return b""


def layout_by_header(beginning: Beginning) -> Layout | None:
    """The layout that an input's header tells; None where it has no header.

    Raises:
        InputError: the header names other columns than the known ones.
    """
    return _layout_named_by(header_of(beginning))


def sample_lines(beginning: Beginning) -> list[bytes]:
    """The first rows of an input, at most 100, without line ends."""
    found = beginning.head.removeprefix(header_of(beginning)).split(b"\n", _SAMPLE_LINES + 1)
    if len(found) > 1:
        found.pop()  # the last one is cut short, or empty after a final newline
    return [line.removesuffix(b"\r") for line in found[:_SAMPLE_LINES]]


def _layout_named_by(line: bytes) -> Layout | None:
    # No row is taken for a header: a name is neither a label nor an integer.
    return _HEADERS.get(_plain(line).lower())


def _plain(line: bytes) -> bytes:
    return line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")


def _names(line: bytes) -> list[str]:
    return line.decode(errors="backslashreplace").split(separator_of(line).decode())


def _looks_like_names(fields: Sequence[str]) -> bool:
    """Whether fields are names of columns, be they others than the known ones."""
    names = [field.strip("\"' ") for field in fields]
    if len(names) > 1 and names[0].lower() in (ID.lower(), LABEL):
        return True
    if sum(name.lower() in _KNOWN for name in names) > 1:
        return True
    return len(set(names)) == len(names) > len(INTEGER_COLUMNS) and all(
        _NAME.fullmatch(name) and not re.fullmatch("[0-9a-fA-F]{8}", name) for name in names
    )


def _difference(line: bytes) -> str:
    """Where a header first differs from the known one that is nearest."""
    names = _names(line)
    lower = [name.lower() for name in names]
    separator = separator_of(line)
    if separator not in (b"\t", b","):
        return other_separator(line, b"\t") or f"the header is {quoted(line)}"
    if separator == b"\t" and lower[0] == ID.lower():
        return "an Id goes with commas only (cut -f 2- leaves it out)"
    if names[0][:1] in ("'", '"') and names[0]:
        return f"the header has quotes ({quoted(names[0])}): names and fields are written without"
    if not names[0]:
        return (
            "the header begins with a column that has no name (pandas writes its index so: "
            "to_csv(…, index=False) leaves it out)"
        )
    expected = max(FORMS, key=lambda form: _agreeing(lower, form)).columns
    for place, (name, column) in enumerate(zip(names, expected, strict=False), 1):
        if name.lower() != column.lower():
            return f"column {place} of the header is {quoted(name)}, expected {column}"
    if len(names) < len(expected):
        return f"the header ends after {len(names)} columns, expected {expected[len(names)]} next"
    return f"the header goes on behind {expected[-1]} with {quoted(names[len(expected)])}"


def _agreeing(lower: Sequence[str], form: Layout) -> tuple[int, bool]:
    """How much of a header is a form's; of equal ones, the form that training takes."""
    found = sum(a == b.lower() for a, b in zip(lower, form.columns, strict=False))
    return found, form.labelled
