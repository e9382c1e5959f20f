"""Records: small files of plain values that are checked as a whole when they are read.

A record is a dataclass. Its annotations say what each value must be, bounds included (`Count`,
`Share`), and its ``__post_init__`` how they go together; `from_plain` holds what a file says
against both. A sealed record carries a checksum over everything else in it.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Set
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from criteo_stream.base.errors import CriteoStreamError
from criteo_stream.base.storage import read_bytes, write_json

Record = TypeVar("Record")

_LARGEST: Final = 2**62

Count = Annotated[int, Meta(ge=0, le=_LARGEST)]
"""A number of things, of bytes, or of one thing among others."""
Whole = Annotated[int, Meta(ge=-_LARGEST, le=_LARGEST)]
"""An integer of 64 bits."""
Positive = Annotated[int, Meta(ge=1, le=_LARGEST)]
"""At least one."""
Number = Annotated[float, Meta(ge=-1e308, le=1e308)]
"""Finite."""
Share = Annotated[float, Meta(ge=0, le=1)]
"""A part of a whole."""
Crc32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}\Z")]
"""A CRC-32 as 8 hex digits."""
Fingerprint = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
"""Identity of a content, as 16 hex digits."""

_CHECKSUM: Final = "checksum"


class RecordError(ValueError):
    """What is wrong with a record; the one who knows its file makes a sentence of it."""


def from_plain(value: Any, kind: type[Record]) -> Record:
    """A record from plain values, as JSON or TOML holds them.

    Names that the record does not have are passed over.

    Raises:
        RecordError: something is missing, of another type, out of bounds, or does not go together.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RecordError(_in_our_words(str(error))) from None
    except RecursionError:
        raise RecordError("nested too deeply") from None


def parse_json(content: bytes) -> Any:
    """Plain values from JSON.

    Raises:
        RecordError: it is not JSON in UTF-8, or nested beyond all measure.
    """
    try:
        return json.loads(content.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise RecordError("nested too deeply") from None
    except ValueError as error:  # no JSON, no UTF-8, an integer of thousands of digits
        raise RecordError(str(error)) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def checksum_of(content: Mapping[str, object]) -> str:
    """Checksum of plain values by name, whatever their order."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sealed(content: Mapping[str, object]) -> dict[str, object]:
    """Plain values with their checksum beside them."""
    return {**content, _CHECKSUM: checksum_of(content)}


def unsealed(raw: Any) -> dict[str, Any]:
    """Plain values without the checksum beside them, which must be theirs.

    Raises:
        RecordError: it is not, or there is none.
    """
    if not isinstance(raw, dict):
        raise RecordError("expected an object")
    content = {name: value for name, value in raw.items() if name != _CHECKSUM}
    try:
        expected = checksum_of(content)
    except RecursionError:
        raise RecordError("nested too deeply") from None
    if raw.get(_CHECKSUM) != expected:
        raise RecordError("its checksum differs")
    return content


def sealed_line(content: Mapping[str, object]) -> str:
    """Plain values as a line of a file, with their checksum."""
    return json.dumps(sealed(content)) + "\n"


def first_difference(begun: Mapping[str, object], wanted: Mapping[str, object]) -> str | None:
    """The first name whose values differ, of those wanted and then of the others."""
    for name in [*wanted, *(name for name in begun if name not in wanted)]:
        if begun.get(name) != wanted.get(name):
            return name
    return None


def has_names(path: Path, names: Set[str]) -> bool:
    """Whether a file is a JSON object with all of these names; false where it cannot be read."""
    try:
        found = parse_json(read_bytes(path))
    except (OSError, RecordError):
        return False
    return isinstance(found, dict) and names <= found.keys()


def require(holds: bool, otherwise: str) -> None:
    """Refuse what does not go together in a record.

    Raises:
        ValueError: says ``otherwise``.
    """
    if not holds:
        raise ValueError(otherwise)


def write_record(path: Path, record: Any, *, unique: bool = False) -> None:
    """Write a dataclass, or plain values by name, as a sealed JSON file, atomically.

    ``unique`` as for `atomic_path`.
    """
    content = record if isinstance(record, dict) else asdict(record)
    write_json(path, sealed(content), unique=unique)


def read_record(
    path: Path, kind: type[Record], *, error: type[CriteoStreamError], remedy: str
) -> Record:
    """Read what `write_record` wrote.

    Args:
        path: the file.
        kind: the record's class.
        error: what to raise where the file is damaged.
        remedy: what to do then, the end of its message.

    Raises:
        FileNotFoundError: there is no such file.
        CriteoStreamError: ``error``, where the file is damaged.
    """
    try:
        return from_plain(unsealed(parse_json(read_bytes(path))), kind)
    except FileNotFoundError:
        raise
    except (RecordError, OSError) as found:
        raise error(f"{path} is damaged ({found}): {remedy}") from None


def _in_our_words(message: str) -> str:
    """Messages of msgspec without its typography: "shards[0].rows: expected int, got str"."""
    what, _, where = message.partition(" - at `$")
    where = where.rstrip("`").removeprefix(".")
    what = re.sub(r"[`$]", "", what)
    what = (
        what[:1].lower() + what[1:] if what.startswith(("Expected", "Object", "Integer")) else what
    )
    return f"{where}: {what}" if where else what
