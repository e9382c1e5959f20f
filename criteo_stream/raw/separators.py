"""What separates the fields of a line, by how often it occurs."""

from typing import Final

from criteo_stream.base.schema import INTEGER_COLUMNS

_NAMES: Final = {
    b"\t": "tabs",
    b",": "commas",
    b";": "semicolons",
    b"|": "vertical bars",
    b"\x01": "Ctrl-A",
    b" ": "spaces",
}
_AS_TR: Final = {b"\t": r"\t", b"\x01": r"\001"}


def separator_of(line: bytes) -> bytes:
    """The most frequent separator."""
    return max(_NAMES, key=line.count)


def other_separator(line: bytes, expected: bytes) -> str | None:
    """What to do about a line whose many fields are separated by something else."""
    found = separator_of(line)
    if found == expected or line.count(found) < len(INTEGER_COLUMNS):
        return None
    if b'"' in line:  # replacing the separators alone would leave the quotes
        return "its fields are quoted: write them without quotes, with tabs or commas between"
    command = f"tr '{_AS_TR.get(found, found.decode())}' '\\t' < FILE > NEW"
    return f"its fields are separated by {_NAMES[found]}, expected tabs: {command}"
