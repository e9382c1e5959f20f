"""An option and its value in a message, as they are typed on a command line."""

import shlex
from typing import Any, Final

_LONGEST: Final = 200


def with_option(flag: str, value: Any) -> str:
    """An option with its value: ``with --seed 1``, ``without --keep-order``."""
    if value is None or value is False or value in ([], ()):
        return f"without {flag}"
    if value is True:
        return f"with {flag}"
    values = value if isinstance(value, list | tuple) else [value]
    text = " ".join(f"{flag} {_quoted(item)}" for item in values)
    return f"with {text}" if len(text) < _LONGEST else f"with {text[:_LONGEST]}…"


def changed_option(flag: str, begun: Any, wanted: Any) -> str:
    """What work was begun with, and is to go on with: ``with --seed 1, now with --seed 2``."""
    return f"{with_option(flag, begun)}, now {with_option(flag, wanted)}"


def _quoted(value: Any) -> str:
    """A value that a shell takes as one word; what it does not print is shown, not quoted."""
    text = str(value)
    return shlex.quote(text) if text.isprintable() else text
