"""Text for people: what others wrote is shown and never obeyed; a stream may be closed or full.

Names of files, raw lines, manifests and configurations come from anywhere. Escape sequences and
direction marks in them would change what a terminal shows, so nothing is printed but through here.
"""

import os
import sys
import textwrap
from contextlib import suppress
from typing import Any, Final, TextIO

_COLOURS: Final = {"error:": "1;31", "warning:": "1;33"}
"""Of the word that begins a line: bold red and bold yellow."""
_STANDARD: Final = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def visible(text: str, *, keep: str = "") -> str:
    r"""The text with every character that does not print as an escape, such as ``\x1b``.

    Those are, as for `repr`, controls, direction marks and other formats, separators other than
    the space, and code points that mean nothing. A byte of a path that is not UTF-8 (see
    `os.fsdecode`) is shown as that byte.

    Args:
        text: from anywhere.
        keep: characters to leave as they are, such as a newline between lines of one's own.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    named = {9: r"\t", 10: r"\n", 13: r"\r"}.get(code)
    if named:
        return named
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def say(line: str) -> None:
    """Print a line for a person on stderr; where nobody can read it, nothing happens.

    On a terminal with colours, the word before an error or a warning has one.
    """
    stream, text = ForgivingStream(sys.stderr), visible(line)
    for word, colour in _COLOURS.items():
        if text.startswith(word) and has_colours(stream):
            text = f"\x1b[{colour}m{word}\x1b[0m{text.removeprefix(word)}"
    stream.write(text + "\n")


def has_colours(stream: "ForgivingStream | TextIO") -> bool:
    """Whether colours may be written: on a terminal that has them, unless ``NO_COLOR`` is set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and stream.isatty()


def say_lines(text: str) -> None:
    """The same for a text of several lines."""
    ForgivingStream(sys.stderr).write(visible(text, keep="\n").rstrip("\n") + "\n")


def wrapped(text: str) -> list[str]:
    """A long text as lines of at most 80 columns; a no-break space keeps two words together."""
    lines = textwrap.wrap(
        text, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\xa0", " ") for line in lines]


class ForgivingStream:
    """A text stream that loses what cannot be written: progress must not end the work.

    Args:
        stream: None is one that was closed before the program began.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write and flush, or do nothing where the stream is closed or full."""
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.write(text)
                self._stream.flush()

    def flush(self) -> None:
        """Nothing: `write` flushes."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        with suppress(ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        """What tqdm asks for beside: encoding, file number."""
        return getattr(self._stream, name)


def open_standard_streams() -> None:
    """Point standard streams that are closed at nothing, and let stdout encode anything.

    The next file to be opened would otherwise take the number of a closed stream, and libraries
    would print their warnings into it.
    """
    for number, name, mode in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    # A path that is not UTF-8, or a dash on a terminal that has ASCII only.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Forget what stdout could not take: Python would try again at its end, and fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
