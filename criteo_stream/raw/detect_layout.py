"""Which layout raw inputs have, by their first lines; and why a file has none."""

import re
from collections.abc import Sequence

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.layouts import (
    KAGGLE,
    KAGGLE_UNLABELLED,
    LAYOUTS,
    TERABYTE,
    Layout,
    layout_by_header,
    other_header,
    sample_lines,
)
from criteo_stream.raw.malformed import explain

_INTEGERS = rb"(?:-?[0-9]+)?"
_HEX = rb"(?:[0-9a-fA-F]{8})?"
_FEATURES = rb"\t".join([_INTEGERS] * 13 + [_HEX] * 26)
_LABELLED = re.compile(rb"[01]\t" + _FEATURES)
_UNLABELLED = re.compile(_FEATURES)


def detect_layout(beginning: Beginning) -> Layout:
    """Recognise an input's layout from its first lines.

    Raises:
        InputError: most of the first lines are in no known layout: says why the first such is not.
    """
    if (layout := layout_by_header(beginning)) is not None:
        return layout
    lines = sample_lines(beginning)
    # A line that lost trailing tabs still tells its layout by what its fields look like.
    labelled = sum(bool(_LABELLED.fullmatch(_padded(line, 39))) for line in lines)
    unlabelled = sum(bool(_UNLABELLED.fullmatch(_padded(line, 38))) for line in lines)
    if max(labelled, unlabelled) * 2 < len(lines):
        raise _no_layout(beginning, lines)
    if unlabelled > labelled:
        return KAGGLE_UNLABELLED
    return TERABYTE if beginning.source.day is not None else KAGGLE


def _padded(line: bytes, tabs: int) -> bytes:
    """A line with the trailing tabs that it may have lost; others than such stay as they are."""
    found = line.count(b"\t")
    return line + b"\t" * (tabs - found) if len(INTEGER_COLUMNS) <= found < tabs else line


def _no_layout(beginning: Beginning, lines: Sequence[bytes]) -> InputError:
    """Why the first line that does not fit the likeliest layout does not."""
    path = beginning.source
    if b"\t" not in lines[0] and lines[0].count(b",") >= len(FEATURE_COLUMNS) - 1:
        if re.search(rb"[g-zG-Z]", lines[0]):  # a row has digits and hex digits only
            return other_header(beginning, lines[0])
        return InputError(
            f"{path} has commas between its fields and no header: put a line "
            "'label,I1,…,I13,C1,…,C26' that names its columns in front (Id before it if there is "
            "one, no label if there is none)"
        )
    tabs = [line.count(b"\t") for line in lines]
    likeliest = KAGGLE_UNLABELLED if tabs.count(38) > tabs.count(39) else KAGGLE
    reasons = [(number, explain(line, likeliest)) for number, line in enumerate(lines, 1)]
    bad = [(number, reason) for number, reason in reasons if reason]
    number, reason = bad[0]
    others = f"{len(bad)} of its first {len(lines)} lines do not fit, so " if lines[1:] else ""
    return InputError(
        f"{path}, line {number}: {reason}; {others}it is not a Criteo click log: its rows are a "
        "label (or none), 13 integers and 26 categoricals of 8 hex digits, between tabs"
    )


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
