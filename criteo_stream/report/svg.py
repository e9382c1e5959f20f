"""A figure as SVG inside a page: its text and colours are the page's own, light or dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES: Final = 8
"""Colours for series; further ones begin anew."""

_ID: Final = re.compile(r"[a-z][a-z0-9-]*")
_INK: Final = "#010101"
_FAINT: Final = "#010102"
_PAGE_COLORS: Final = {
    _INK: "currentColor",
    _FAINT: "var(--faint)",
    **{f"#0102{number:02x}": f"var(--series-{number})" for number in range(SERIES)},
}
"""Colours that a figure is drawn with, and what stands for them in the page."""

_STYLE: Final[dict[Any, Any]] = {
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 10,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text stays text: selectable, read aloud, in the page's font
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.color": _FAINT,
    "ytick.labelcolor": _INK,
}


class Picture(NamedTuple):
    """What the page puts into its ``<svg>`` element."""

    box: str
    """Its ``viewBox``."""
    body: Markup


def series_color(number: int) -> str:
    """The colour of a series, for drawing; `SERIES` of them differ."""
    return f"#0102{number % SERIES:02x}"


@contextmanager
def page_style() -> Iterator[None]:
    """Within it figures must be both drawn and written."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def page_svg(figure: "Figure", prefix: str) -> Picture:
    """The figure as the content of an ``<svg>`` element, without ids that another one has.

    Args:
        figure: drawn within `page_style`.
        prefix: of its ids, of letters, digits and hyphens; no other picture of the page has it.
    """
    from matplotlib import rc_context

    assert _ID.fullmatch(prefix), "ids are not of others' making"
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": prefix}):  # equal reports for equal runs
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    box = re.search(r'viewBox="([\d. ]+)"', text)
    assert box, "matplotlib writes a viewBox"
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = _own_ids(body, prefix)
    for color, name in _PAGE_COLORS.items():
        body = body.replace(color, name)
    return Picture(box[1], Markup(body.strip().removesuffix("</svg>")))


def _own_ids(body: str, prefix: str) -> str:
    """Keep the ids that are referred to, under names of the picture's own."""
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', body))
    names = {name for pair in used for name in pair if name}

    def kept(match: "re.Match[str]") -> str:
        return f' id="{prefix}-{match[1]}"' if match[1] in names else ""

    body = re.sub(r' id="([^"]+)"', kept, body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    # The short form: the long one needs a name space that HTML does not have.
    return re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
