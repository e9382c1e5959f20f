"""Members of archives: what is known of one before it is read, and how people name it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import InputError

MARK: Final = "::"
"""Between an archive's path and a member's name, as in ``Criteo_x4.zip::train.csv``."""
_NAMED_AT_ONCE: Final = 10


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in an archive, by what the archive says of it."""

    name: str
    """Without the ``./`` that many tar archives put in front."""
    content_bytes: int
    """Size of the file."""
    disk_bytes: int | None
    """What it takes in the archive; None where it is compressed together with others."""
    compression: str | None
    """What its content is decompressed from; None where the archive holds it as it is."""
    refusal: str | None = None
    """Why it cannot be read, and what to do about it."""
    is_link: bool = False


def plain_name(name: str) -> str:
    """A member's name without ``./`` in front."""
    while name.startswith("./"):
        name = name.removeprefix("./").lstrip("/")
    return name


def refuse_twice(archive: Path, names: Iterable[str]) -> None:
    """Refuse members of one name: which of them is meant cannot be told.

    Raises:
        InputError: names the first such.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise held_twice(archive, name)


def held_twice(archive: Path, name: str) -> InputError:
    """The error of an archive with two members of one name."""
    return InputError(
        f"{archive} holds more than one member {name}: extract the one that is meant, and give it"
    )


def no_such_member(archive: Path, name: str, held: Sequence[str]) -> InputError:
    """The error of a name that no member has."""
    return InputError(
        f"{archive} holds no member {name}: name one that it holds ({listed_members(held)})"
    )


def listed_members(names: Sequence[str]) -> str:
    """Names in one line; of many the first."""
    shown = ", ".join(names[:_NAMED_AT_ONCE])
    more = len(names) - _NAMED_AT_ONCE
    return f"{shown} and {more:,} more" if more > 0 else shown or "nothing"
