"""Describe a raw log by its beginning: its form, and for every column what its values look like."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from criteo_stream.base.amounts import format_size
from criteo_stream.base.errors import InputError
from criteo_stream.raw.detect_layout import detect_layout
from criteo_stream.raw.headers import header_of, sample_lines
from criteo_stream.raw.malformed import explain
from criteo_stream.raw.members import listed_members
from criteo_stream.raw.take_inputs import take_inputs
from criteo_stream.report.text_table import table

_WIDTH: Final = 80
"""Columns of a terminal that the table fits."""
_EXAMPLES: Final = 5
"""Distinct values of a column that are shown."""


def describe_raw(path: Path) -> tuple[dict[str, object], list[str]]:
    """The figures of a raw log, and lines for a person.

    Raises:
        InputError: the path is no log, or an archive that holds several.
    """
    beginning, *others = take_inputs([f"./{path}" if str(path) == "-" else path])
    if others:
        names = [found.source.member or found.source.short for found in (beginning, *others)]
        raise InputError(
            f"{path} holds several logs ({listed_members(names)}): name one, such as "
            f"{beginning.source}"
        )
    layout = detect_layout(beginning)
    sample = sample_lines(beginning)
    header_lines = int(len(header_of(beginning)) > 0)
    reasons = [explain(line, layout) for line in sample]
    bad = [
        {"line": number, "reason": reason}
        for number, reason in enumerate(reasons, 1 + header_lines)
        if reason
    ]
    valid = [
        line.decode().split(layout.separator.decode())
        for line, reason in zip(sample, reasons, strict=True)
        if reason is None
    ]
    values = dict(zip(layout.columns, zip(*valid, strict=True), strict=True)) if valid else {}
    size, rows = beginning.file_bytes, beginning.estimated_rows - header_lines
    figures: dict[str, object] = {
        "kind": "raw",
        "layout": layout.name,
        "labelled": layout.labelled,
        "header": header_lines > 0,
        "compression": beginning.compression,
        "bytes": size,
        "rows_estimated": rows,
        "sample": {"lines": len(sample), "malformed": bad},
        "columns": [
            {"column": c, "missing": _missing(v), "examples": _distinct(v)[:_EXAMPLES]}
            for c, v in values.items()
        ],
    }
    facts = (
        f"layout {layout.name}",
        f"{'with' if layout.labelled else 'without'} labels",
        f"{'with' if header_lines else 'without'} a header",
        beginning.compression or "not compressed",
    )
    text = [
        f"{path}: raw log, {format_size(size)}, about {rows:,} rows",
        ", ".join(facts),
        f"first {len(sample)} rows: {len(bad)} malformed",
        *(f"  line {b['line']}: {b['reason']}" for b in bad[:_EXAMPLES]),
        *(["", *_columns(values)] if values else []),
    ]
    return figures, text


def _columns(values: dict[str, tuple[str, ...]]) -> list[str]:
    """A line for every column; values that no longer fit are left out whole."""
    found = table(
        ("column", "missing", "distinct"),
        [(c, f"{_missing(v):.0%}", str(len(_distinct(v)))) for c, v in values.items()],
    )
    examples = ["first values", *(_fitting(_distinct(v), _WIDTH - len(found[0]) - 2)
                                  for v in values.values())]  # fmt: skip
    return [f"{line}  {shown}".rstrip() for line, shown in zip(found, examples, strict=True)]


def _missing(values: tuple[str, ...]) -> float:
    return values.count("") / len(values)


def _distinct(values: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def _fitting(values: Iterable[str], width: int) -> str:
    text = ""
    for value in list(values)[:_EXAMPLES]:
        longer = f"{text}  {value}" if text else value
        if len(longer) > width:
            break
        text = longer
    return text
