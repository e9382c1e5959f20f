"""Small tables for notebooks; how they look is the notebook's own."""

from collections.abc import Iterable, Sequence
from html import escape


def table_html(caption: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """An HTML table; all text is escaped.

    Args:
        caption: above it.
        rows: the first cell of each names the row.
        header: names of the columns.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr><th>{escape(str(name))}</th>"
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption>"
        + (f"<thead><tr>{head}</tr></thead>" if head else "")
        + f"<tbody>{body}</tbody></table>"
    )
