"""Paths as people write them."""

import os
from pathlib import Path

from criteo_stream.base.errors import UsageError


def user_path(path: str | Path) -> Path:
    """A path with ``~`` expanded; a shell leaves one behind in ``--out=~/data`` and in quotes.

    Raises:
        UsageError: whose home ``~`` or ``~name`` is, is not known.
    """
    text = os.fspath(path)
    if not text.startswith("~"):
        return Path(text)
    expanded = os.path.expanduser(text)  # noqa: PTH111 (the method raises where no home is known)
    if expanded == text and not os.path.lexists(text):
        home = text.partition("/")[0]
        raise UsageError(
            f"{text} begins with {home}, whose home folder is not known: give the whole path, or "
            f"./{text} for a name that begins like this"
        )
    return Path(expanded)
