"""From what a user names to the inputs that are read, each opened once and found to hold rows."""

from collections.abc import Callable, Sequence
from pathlib import Path

from criteo_stream.base.errors import InputError
from criteo_stream.raw.archive_logs import logs_in
from criteo_stream.raw.beginning import Beginning, EmptyInputError, read_beginning
from criteo_stream.raw.headers import header_of
from criteo_stream.raw.inputs import RawInput, find_inputs, refuse_twins
from criteo_stream.raw.open_input import ArchiveInputError


def take_inputs(
    arguments: Sequence[str | Path],
    also: Sequence[str | Path] = (),
    *,
    streams: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Beginning]:
    """Find the inputs and read their beginnings; those that hold no rows are passed over.

    Args:
        arguments: files, folders or globs, see `find_inputs`; of an archive that is named as a
            whole, all members that look like logs.
        also: the same, named by options.
        streams: whether standard input and pipes will do.
        tell: hears of what is passed over and holds no rows.
        warn: hears of what is passed over and may hold rows.

    Raises:
        InputError: an input is missing, damaged or of another format; or one that the user named
            itself, or all, hold no rows.
        UsageError: there are no arguments.
    """
    taken: dict[Path, Beginning] = {}
    for source in find_inputs(arguments, also, streams=streams, tell=tell, warn=warn):
        try:
            found = [_with_rows(source)]
        except ArchiveInputError:
            found = logs_in(source, tell, warn)
        except EmptyInputError:
            if source.is_named:
                raise
            tell(f"{source} holds no rows and is passed over")
            continue
        for beginning in found:  # an archive, and one of its members beside it
            taken.setdefault(beginning.source.identity, beginning)
    if not taken:
        raise InputError(f"{source} and all other inputs hold no rows")
    refuse_twins([beginning.source for beginning in taken.values()])
    return list(taken.values())


def _with_rows(source: RawInput) -> Beginning:
    """The beginning of an input, which has more than a header."""
    beginning = read_beginning(source)
    if beginning.head == header_of(beginning):
        raise EmptyInputError(f"{source} holds a header and no rows: leave it out")
    return beginning
