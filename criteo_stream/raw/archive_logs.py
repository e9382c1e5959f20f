"""The logs in an archive that is named as a whole."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Final

from criteo_stream.base.errors import InputError
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.raw.beginning import (
    Beginning,
    EmptyInputError,
    OtherFormatError,
    read_beginning,
)
from criteo_stream.raw.detect_layout import detect_layout
from criteo_stream.raw.file_kinds import kind_by_members
from criteo_stream.raw.headers import header_of
from criteo_stream.raw.inputs import RawInput, natural_key
from criteo_stream.raw.members import MARK, Member, listed_members
from criteo_stream.raw.open_input import list_members

_SAMPLE_LINES: Final = 100


def logs_in(
    archive: RawInput, tell: Callable[[str], None], warn: Callable[[str], None]
) -> list[Beginning]:
    """Find the members of an archive that look like logs, in natural order.

    Args:
        archive: the archive as an input, without a member.
        tell: hears of the members that are passed over and hold no rows.
        warn: hears of those that may hold rows.

    Raises:
        InputError: the archive is damaged, or holds no log, or both labelled and unlabelled logs.
    """
    members = sorted(list_members(archive), key=lambda member: natural_key(member.name))
    found: list[Beginning] = []
    passed: list[str] = []
    for member in members:
        try:
            beginning = None if _is_no_log(member) else _beginning(archive, member)
        except OtherFormatError as error:
            warn(f"passed over: {error}")
            continue
        if beginning is None:
            passed.append(member.name)
        else:
            found.append(beginning)
    if not found and (why := kind_by_members(member.name for member in members)):
        raise OtherFormatError(f"{archive} {why}")
    if passed:
        tell(f"{archive}: {listed_members(passed)} passed over")
    if not found:
        raise InputError(
            f"{archive} holds no log, only {listed_members([m.name for m in members])}: name the "
            f"member that is one ({archive}{MARK}MEMBER) to see what is wrong with it"
        )
    _refuse_mixed(archive, found)
    return found


def _is_no_log(member: Member) -> bool:
    """Whether it is hidden, such as ``__MACOSX/…``, or a link, which names a log a second time."""
    return member.is_link or any(
        part.startswith((".", "_")) for part in PurePosixPath(member.name).parts
    )


def _beginning(archive: RawInput, member: Member) -> Beginning | None:
    """The beginning of a member; None where it is empty, has no rows, or is no log."""
    try:
        beginning = read_beginning(RawInput(archive.path, member.name, is_named=False))
    except EmptyInputError:
        return None
    if _looks_like_a_log(beginning.head) and beginning.head != header_of(beginning):
        return beginning
    return None


def _looks_like_a_log(head: bytes) -> bool:
    """Whether most of the first lines have about as many fields as rows, rather than as prose.

    A log that is malformed looks like one still: it is refused, and not passed over.
    """
    lines = head.split(b"\n")[:_SAMPLE_LINES]
    lines = lines[:-1] or lines
    rows = sum(
        line.count(b"\t") >= len(INTEGER_COLUMNS) or line.count(b",") >= len(FEATURE_COLUMNS) // 2
        for line in lines
    )
    return rows * 2 >= len(lines)


def _refuse_mixed(archive: RawInput, found: Sequence[Beginning]) -> None:
    layouts = [detect_layout(beginning) for beginning in found]
    names: tuple[list[str], list[str]] = ([], [])
    for beginning, layout in zip(found, layouts, strict=True):
        names[layout.labelled].append(beginning.source.member or "")
    without, labelled = names
    if without and labelled:
        raise InputError(
            f"{archive} holds logs with labels ({listed_members(labelled)}) and without "
            f"({listed_members(without)}): name those to read, such as {archive}{MARK}{labelled[0]}"
        )
