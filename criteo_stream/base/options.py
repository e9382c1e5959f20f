"""Options that are written once: a field's name, type, default, bounds, choices and help.

A class decorated with `options` is a frozen, keyword-only dataclass whose fields are checked when
it is made. Everything else that speaks of an option, the command line, configuration files, error
messages and the table in the documents, derives from `declared`.
"""

import functools
import math
import numbers
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import (
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from criteo_stream.base.errors import UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.base.spelling import did_you_mean, not_known

Options = TypeVar("Options")

LARGEST: Final = 2**63 - 1
"""The largest whole number that libraries take."""
LARGEST_SEED: Final = 2**64 - 1

EXPECTED: Final = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path",
    tuple: "a list of text",
}
"""What a value of each kind is called in a message."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, as everything that speaks of it needs it."""

    name: str
    kind: type
    """``str``, ``int``, ``float``, ``bool``, ``Path``, or ``tuple`` of text."""
    may_be_open: bool
    """Whether None is a value: it is then chosen by what `chosen_by` says."""
    choices: tuple[str, ...]
    """The words that are known; empty where any value of the kind will do."""
    default: Any
    help: str
    chosen_by: str
    """The value that an open option gets, in words."""
    at_least: float | None
    at_most: float | None
    below: float | None
    in_rows: bool
    """Whether people write it as an amount of rows, such as 500k."""
    flag: str
    suggested: tuple[str, ...]
    """Words that are offered to complete where others will do as well."""
    also: str
    """A shorter flag that people type for it; empty where there is none."""
    panel: str
    """The group of options that ``--help`` shows it in."""

    def checked(self, value: Any, name: str | None = None) -> Any:
        """A value of the option's own type.

        Args:
            value: what was given; numbers of other libraries are converted.
            name: what the message calls the option; default its flag.

        Raises:
            UsageError: it is of another type, not among the choices or out of bounds.
        """
        name = name or self.flag
        if value is None and self.may_be_open:
            return None
        value = self._converted(value, name)
        if self.choices and value not in self.choices:
            raise UsageError(not_known(name, value, self.choices))
        if self.kind in (int, float):
            self._check_bounds(value, name)
        return value

    def _check_bounds(self, value: float, name: str) -> None:
        told = f"{name} is {shown(value)}, expected"
        if self.kind is float and not math.isfinite(value):
            raise UsageError(f"{told} a finite number")
        if self.below is not None:
            if not (self.at_least or 0) <= value < self.below:
                raise UsageError(
                    f"{told} a number from {self.at_least or 0:g} to below {self.below:g}"
                )
        elif self.at_least is not None and value < self.at_least:
            raise UsageError(f"{told} at least {self.at_least:g}")
        at_most = LARGEST if self.at_most is None and self.kind is int else self.at_most
        if at_most is not None and value > at_most:
            raise UsageError(f"{told} at most {shown(at_most)}")
        if self.kind is int and value < -LARGEST:
            raise UsageError(f"{told} at least {shown(-LARGEST)}")

    def _converted(self, value: Any, name: str) -> Any:
        is_truth = isinstance(value, bool)
        if self.kind is int and isinstance(value, numbers.Integral) and not is_truth:
            return int(value)
        if self.kind is float and isinstance(value, numbers.Real) and not is_truth:
            try:
                return float(value)
            except OverflowError:
                return math.copysign(math.inf, -1 if value <= -1 else 1)
        if self.kind is Path and isinstance(value, str | Path):
            return user_path(value)
        if self.kind is tuple and isinstance(value, list | tuple):
            if all(isinstance(item, str) for item in value):
                return tuple(value)
        elif self.kind in (str, bool) and type(value) is self.kind:
            return value
        raise UsageError(f"{name} is {value!r}, expected {EXPECTED[self.kind]}")


def shown(value: float) -> str:
    """A number in a message; one of many digits by its size."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"about {'-' * (value < 0)}1e{int(abs(value).bit_length() * math.log10(2))}"
    if 10**6 <= abs(value) < 10**20:
        return f"{int(value) if value == int(value) else value:,}"
    return str(value)


def option(
    default: Any = MISSING,
    *,
    help: str,  # noqa: A002 (what every command line calls it)
    chosen_by: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    in_rows: bool = False,
    flag: str = "",
    suggested: Iterable[str] = (),
    also: str = "",
    panel: str = "",
) -> Any:
    """Declare a field of an `options` class.

    Args:
        default: its value where none is given; without one it must be given.
        help: what it does, as a verb phrase.
        chosen_by: what an option that may be None becomes when it is.
        at_least: the smallest number that makes sense.
        at_most: the largest; whole numbers are below 2^63 without it.
        below: a number that it must stay below.
        in_rows: people write it as an amount of rows, such as 500k.
        flag: its name on the command line where that is not the field's.
        suggested: words that are offered there where others will do as well.
        also: a shorter name there, which works as well.
        panel: the group of options that ``--help`` and the documents show it in.
    """
    told = {
        "help": help,
        "chosen_by": chosen_by,
        "at_least": at_least,
        "at_most": at_most,
        "below": below,
        "in_rows": in_rows,
        "flag": flag,
        "suggested": tuple(suggested),
        "also": also and f"--{also}",
        "panel": panel,
    }
    return field(default=default, metadata={"option": told})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option, field))
def options(cls: type[Options]) -> type[Options]:
    """Make a class an immutable set of options that checks itself.

    An unknown name, a wrong type, a word that is not known and a number out of bounds are each a
    `UsageError` in one sentence. A class may check how its options go together in a method
    ``check_together``, which runs after that.
    """

    def check(self: Any) -> None:
        for declaration in declared(type(self)).values():
            value = declaration.checked(getattr(self, declaration.name))
            object.__setattr__(self, declaration.name, value)
        if check_together := getattr(self, "check_together", None):
            check_together()

    cls.__post_init__ = check  # type: ignore[attr-defined]
    made = dataclass(frozen=True, kw_only=True)(cls)
    initialise = made.__init__

    @functools.wraps(initialise)
    def refuse_unknown(self: Any, **values: Any) -> None:
        refuse_unknown_names(values, declared(made))
        initialise(self, **values)

    made.__init__ = refuse_unknown  # type: ignore[method-assign]
    return made


def declared(cls: type) -> Mapping[str, Option]:
    """The options of a class by name, in their order; a base class may have the words of one."""
    hints = get_type_hints(cls)
    found = {}
    for item in fields(cast(Any, cls)):
        kind, may_be_open, choices = _taken_apart(hints[item.name])
        told = _told(cls, item.name)
        found[item.name] = Option(
            **told
            | {
                "name": item.name,
                "kind": kind,
                "may_be_open": may_be_open,
                "choices": choices,
                "default": item.default,
                "flag": "--" + (told["flag"] or item.name.replace("_", "-")),
            }
        )
    return types.MappingProxyType(found)


def _told(cls: type, name: str) -> dict[str, Any]:
    for base in cls.__mro__:
        for item in fields(cast(Any, base)) if base is not object else ():
            if item.name == name and "option" in item.metadata:
                return dict(item.metadata["option"])
    raise AssertionError(f"{cls.__name__}.{name} is not declared by option()")


def _taken_apart(hint: Any) -> tuple[type, bool, tuple[str, ...]]:
    """Type, whether None will do, and choices of an annotation such as ``int | None``."""
    may_be_open = False
    if get_origin(hint) in (Union, types.UnionType):
        parts = [part for part in get_args(hint) if part is not type(None)]
        may_be_open = len(parts) < len(get_args(hint))
        (hint,) = parts
    if get_origin(hint) is Literal:
        return str, may_be_open, get_args(hint)
    return get_origin(hint) or hint, may_be_open, ()


def refuse_unknown_names(names: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """Refuse a name that is not known, and suggest the nearest that is.

    Raises:
        UsageError: names it.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise UsageError(f"{where}unknown option {name}{did_you_mean(name, known)}")


def to_dict(values: Any) -> dict[str, Any]:
    """Options as plain values by name, as JSON and TOML hold them."""
    plain: dict[type, Callable[[Any], Any]] = {Path: str, tuple: list}
    found = {name: getattr(values, name) for name in declared(type(values))}
    return {
        name: next((turn(v) for kind, turn in plain.items() if isinstance(v, kind)), v)
        for name, v in found.items()
    }


def from_dict(cls: type[Options], values: Mapping[str, Any], where: str) -> Options:
    """Options from plain values, such as a table of a configuration file.

    Raises:
        UsageError: a name is unknown or a value makes no sense; the message begins with ``where``.
    """
    known = declared(cls)
    refuse_unknown_names(values, known, f"{where}: ")
    checked = {name: known[name].checked(v, f"{where}: {name}") for name, v in values.items()}
    return cls(**checked)
