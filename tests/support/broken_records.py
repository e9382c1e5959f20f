"""Records broken field by field: plain values, each with one thing in it that cannot be right."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final


class Spelled(str):
    """JSON that Python cannot write itself; `to_json` puts ``json`` in its place."""

    json: str

    def __new__(cls, name: str, text: str) -> "Spelled":
        """``name`` stands for the text until it is written, and must occur nowhere else."""
        made = super().__new__(cls, name)
        made.json = text
        return made


_MISSING: Final = object()
_MANY: Final = 10

WAYS: Final[dict[str, Any]] = {
    "missing": _MISSING,
    "null": None,
    "text": "x",
    "empty text": "",
    "NUL in text": "a\0b",
    "fraction": 1.5,
    "truth": True,
    "list": [],
    "list of lists": [[]],
    "object": {},
    "negative": -1,
    "64 bits and more": 2**63,
    "not a number": float("nan"),
    "infinite": float("inf"),
    "5,000 digits": Spelled("@5,000 digits@", "9" * 5000),
    "nested 100 deep": json.loads("[" * 100 + "]" * 100),
    "nested 10,000 deep": Spelled("@nested 10,000 deep@", "[" * 10_000 + "]" * 10_000),
}
"""What takes the place of a value, by name."""


def broken_records(record: Any) -> Iterator[tuple[str, str, Any]]:
    """Copies of a record of plain values, each with one value replaced by one of another kind.

    Values within values have their turn too: of a list the first, of many values of one kind by
    name (a figure per column) the first. Some replacements may be right in their place, such as a
    text for a text: the caller knows which.

    Yields:
        Where, such as ``shards.train[0].rows``; a name of `WAYS`; and the broken copy.
    """
    for path in _paths(record):
        for way, value in WAYS.items():
            broken = deepcopy(record)
            holder = broken
            for step in path[:-1]:
                holder = holder[step]
            was = holder[path[-1]]
            if value is _MISSING:
                del holder[path[-1]]
            elif type(value) is type(was) and value == was:
                continue
            else:
                holder[path[-1]] = value
            yield _written(path), way, broken


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = list(value) if isinstance(value, dict) else []
    if len(steps) > _MANY and len({type(value[step]) for step in steps}) == 1:
        steps = steps[:1]
    if isinstance(value, list) and value:
        steps = [0]
    for step in steps:
        yield (*before, step)
        yield from _paths(value[step], (*before, step))


def _written(path: tuple[Any, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def to_json(value: Any) -> bytes:
    """A broken record as a file holds it."""
    text = json.dumps(value)
    for found in WAYS.values():
        if isinstance(found, Spelled):
            text = text.replace(json.dumps(found), found.json)
    return text.encode()
