"""From what a user names to the inputs that are read, each opened once and found to hold rows."""

from collections.abc import Callable, Sequence
from pathlib import Path

from criteo_stream.base.errors import InputError
from criteo_stream.prepare.beginning import Beginning, EmptyInputError, read_beginning
from criteo_stream.prepare.inputs import find_inputs
from criteo_stream.prepare.layouts import header_of


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
        arguments: files, folders or globs, see `find_inputs`.
        also: the same, named by options.
        streams: whether standard input and pipes will do.
        tell: hears of what is passed over and holds no rows.
        warn: hears of what is passed over and may hold rows.

    Raises:
        InputError: an input is missing, damaged or of another format; or one that the user named
            itself, or all, hold no rows.
        UsageError: there are no arguments.
    """
    taken: list[Beginning] = []
    for source in find_inputs(arguments, also, streams=streams, tell=tell, warn=warn):
        try:
            beginning = read_beginning(source)
            if beginning.head == header_of(beginning):
                raise EmptyInputError(f"{source.path} holds a header and no rows: leave it out")
        except EmptyInputError:
            if source.is_named:
                raise
            tell(f"{source.path} holds no rows and is passed over")
        else:
            taken.append(beginning)
    if not taken:
        raise InputError(f"{source.path} and all other inputs hold no rows")
    return taken
