"""Which layout raw inputs have, by their first lines; and why a file has none."""

import re
from collections.abc import Sequence
from typing import Final

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS, LABEL
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.file_kinds import HEAD_BYTES, is_text
from criteo_stream.raw.headers import layout_by_header, sample_lines
from criteo_stream.raw.layouts import (
    FORMS,
    ID,
    KAGGLE,
    KAGGLE_CSV_UNLABELLED,
    LAYOUTS,
    TERABYTE,
    Layout,
)
from criteo_stream.raw.malformed import explain, faults, quoted
from criteo_stream.raw.separators import other_separator

_INTEGER: Final = rb"(?:-?[0-9]+)?"
_HEX: Final = rb"(?:[0-9a-fA-F]{8})?"
_PATTERNS: Final = (
    {ID: rb"-?[0-9]+", LABEL: rb"[01]"}
    | dict.fromkeys(FEATURE_COLUMNS, _HEX)
    | dict.fromkeys(INTEGER_COLUMNS, _INTEGER)
)
_ROWS: Final = {
    form: re.compile(form.separator.join(_PATTERNS[column] for column in form.columns))
    for form in FORMS
    if form != KAGGLE_CSV_UNLABELLED  # or labels other than 0 and 1 would pass for ids
}
"""The forms that are known without a header."""
_COMPARED: Final = 20
"""First lines that tell the nearest layout of a file that is of none."""


def detect_layout(beginning: Beginning) -> Layout:
    """Recognise an input's layout from its first lines.

    Raises:
        InputError: most of the first lines are in no known layout: says why the first such is not.
    """
    form = layout_by_header(beginning) or _layout_by_rows(beginning)
    return TERABYTE if form == KAGGLE and beginning.source.day is not None else form


def _layout_by_rows(beginning: Beginning) -> Layout:
    lines = sample_lines(beginning)
    # A line that lost trailing tabs still tells its layout by what its fields look like.
    fitting = {
        form: sum(bool(row.fullmatch(_padded(line, form))) for line in lines)
        for form, row in _ROWS.items()
    }
    form = max(_ROWS, key=fitting.__getitem__)
    if fitting[form] * 2 < len(lines):
        if not fitting[form]:
            form = min(_ROWS, key=lambda form: sum(faults(x, form) for x in lines[:_COMPARED]))
        raise _no_layout(beginning, lines, form)
    return form


def _padded(line: bytes, form: Layout) -> bytes:
    """A line with the trailing separators that it may have lost; others stay as they are."""
    found = line.count(form.separator)
    lost = form.separators - found if found >= len(INTEGER_COLUMNS) else 0
    return line + form.separator * lost


def _no_layout(beginning: Beginning, lines: Sequence[bytes], nearest: Layout) -> InputError:
    """Why the first line that does not fit the nearest layout does not."""
    bad = [number for number, line in enumerate(lines, 1) if explain(line, nearest)]
    line = lines[bad[0] - 1]
    near = faults(line, nearest) * 2 < len(nearest.columns)
    form = nearest if near else KAGGLE
    told = f"{beginning.source}, line {bad[0]}: {explain(line, form)}"
    rows = f"rows are {form.described}"
    if near:
        many = f"{len(bad)} of its first {len(lines)} lines do not fit: " if lines[1:] else ""
        return InputError(f"{told}; {many}{rows}")
    separated = other_separator(line, form.separator)
    if separated and line.isascii():
        return InputError(f"{told}; {rows}")
    begins = f"begins {quoted(line)}" if is_text(beginning.head[:HEAD_BYTES]) else "looks binary"
    return InputError(f"{told}; it {begins} and is not a Criteo click log: {rows}")


def layout_of(beginnings: Sequence[Beginning], wanted: str = "auto") -> Layout:
    """The one layout of all inputs; ``wanted`` names it or is ``auto``.

    Raises:
        InputError: an input is in no known layout, or two inputs differ.
        UsageError: ``wanted`` is not a known layout.
    """
    if wanted != "auto" and wanted not in LAYOUTS:
        raise UsageError(f"--layout {wanted} is not known: use auto, {', '.join(LAYOUTS)}")
    layouts = [detect_layout(beginning) for beginning in beginnings]
    first = beginnings[0].source
    form = LAYOUTS.get(wanted, layouts[0])
    for beginning, layout in zip(beginnings, layouts, strict=True):
        path = beginning.source
        if (layout.separator, layout.has_id) != (form.separator, form.has_id):
            named = f"--layout {wanted}" if wanted in LAYOUTS else str(first)
            raise InputError(
                f"{path} is of the layout {layout.name}, which does not go with {named}: "
                "give inputs of one layout"
            )
        if layout.labelled != layouts[0].labelled:
            raise InputError(
                f"{first} has {layouts[0].separators + 1} fields a line, "
                f"{path} has {layout.separators + 1}: give labelled and unlabelled "
                "inputs to separate runs"
            )
    if not layouts[0].labelled:
        return layouts[0]
    if wanted == "auto":
        same = all(layout == layouts[0] for layout in layouts)
        return layouts[0] if same else KAGGLE
    return LAYOUTS[wanted]
