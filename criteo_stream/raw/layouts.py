"""The known forms of raw lines, and the headers that name their columns."""

from dataclasses import dataclass
from itertools import product
from typing import Final

from criteo_stream.base.errors import InputError
from criteo_stream.base.schema import FEATURE_COLUMNS, LABEL
from criteo_stream.raw.beginning import Beginning

ID: Final = "Id"
"""Column of the row numbers in Kaggle's CSV form; nothing is learned from it."""
_SAMPLE_LINES: Final = 100


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A known form of raw lines."""

    name: str
    labelled: bool
    separator: bytes = b"\t"
    has_id: bool = False
    """Whether a line begins with an id, a 64-bit integer."""

    @property
    def leading(self) -> tuple[str, ...]:
        """The columns before I1."""
        return (ID,) * self.has_id + (LABEL,) * self.labelled

    @property
    def separators(self) -> int:
        """Separators in a valid line."""
        return len(self.leading) + len(FEATURE_COLUMNS) - 1

    @property
    def separator_name(self) -> str:
        """The separator's name in the plural."""
        return "tabs" if self.separator == b"\t" else "commas"


KAGGLE: Final = Layout(name="kaggle", labelled=True)
KAGGLE_UNLABELLED: Final = Layout(name="kaggle", labelled=False)
TERABYTE: Final = Layout(name="terabyte", labelled=True)
RECZOO: Final = Layout(name="reczoo", labelled=True, separator=b",")
"""Criteo_x4 of the reczoo benchmarks: the rows of Kaggle, with a header."""
RECZOO_UNLABELLED: Final = Layout(name="reczoo", labelled=False, separator=b",")
KAGGLE_CSV: Final = Layout(name="kaggle-csv", labelled=True, separator=b",", has_id=True)
"""The form of some Kaggle competitions and copies: an id in front, and a header."""
KAGGLE_CSV_UNLABELLED: Final = Layout(
    name="kaggle-csv", labelled=False, separator=b",", has_id=True
)
LAYOUTS: Final = {layout.name: layout for layout in (KAGGLE, TERABYTE, RECZOO, KAGGLE_CSV)}
"""The layouts that a user may name."""

_WITH_HEADER: Final = (RECZOO, RECZOO_UNLABELLED, KAGGLE_CSV, KAGGLE_CSV_UNLABELLED)
_SPELLINGS: Final = {ID: ("Id", "id"), LABEL: ("label", "Label")}
_HEADERS: Final = {
    ",".join([*names, *FEATURE_COLUMNS]).encode(): layout
    for layout in _WITH_HEADER
    for names in product(*(_SPELLINGS[column] for column in layout.leading))
}
_HEADER_STARTS: Final = tuple({header.partition(b",")[0] + b"," for header in _HEADERS})


def header_of(beginning: Beginning) -> bytes:
    """The header of an input that has one, with its line end; else nothing.

    Raises:
        InputError: it names other columns than the known ones.
    """
    if not beginning.head.startswith(_HEADER_STARTS):
        return b""
    line, newline, _ = beginning.head.partition(b"\n")
    if _named(line) is None:
        raise other_header(beginning, line)
    return line + newline


def layout_by_header(beginning: Beginning) -> Layout | None:
    """The layout that an input's header tells; None where it has no header.

    Raises:
        InputError: the header names other columns than the known ones.
    """
    return _named(header_of(beginning))


def _named(line: bytes) -> Layout | None:
    return _HEADERS.get(line.rstrip(b"\r\n"))


def other_header(beginning: Beginning, line: bytes) -> InputError:
    """The error of an input whose first line names other columns than the known ones."""
    found = line[:80].decode(errors="backslashreplace")
    return InputError(
        f"{beginning.source} has the header {found!r}{'…' * (len(line) > 80)}, expected "
        f"'label,I1,I2 … C26': name its columns label, I1 to I13, C1 to C26 in this order, "
        "after Id if there is one"
    )


def sample_lines(beginning: Beginning) -> list[bytes]:
    """The first rows of an input, at most 100, without line ends."""
    found = beginning.head.removeprefix(header_of(beginning)).split(b"\n", _SAMPLE_LINES + 1)
    if len(found) > 1:
        found.pop()  # the last one is cut short, or empty after a final newline
    return [line.removesuffix(b"\r") for line in found[:_SAMPLE_LINES]]
