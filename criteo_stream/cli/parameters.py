"""Parameters of commands: those that several share, and those that derive from declared options."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from criteo_stream.base.amounts import parse_rows
from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import EXPECTED, Option, declared
from criteo_stream.base.schema import SPLITS
from criteo_stream.base.spelling import not_known

PANELS: Final = (
    "",
    "Data",
    "Splits",
    "Encoding",
    "Model",
    "Optimiser",
    "Evaluation",
    "Checkpoints",
    "Performance",
)
"""Groups of options in the order of ``--help``; the first is that of all commands."""
_SHORT: Final = {"--quiet": ["-q"]}


def among(
    words: Sequence[str], name: str, *others: str, open_to_all: bool = False, **told: Any
) -> Any:
    """How Typer is told of an option with known words: in any case, and offered to complete.

    Args:
        words: that are known.
        name: the option's name, such as ``--split``.
        others: names that work as well.
        open_to_all: whether other words will do, and are checked elsewhere.
        told: for `typer.Option`.
    """
    by_spelling = {word.lower(): word for word in words}

    def parse(text: str) -> str:
        found = by_spelling.get(text.lower())
        if found is None and not open_to_all:
            raise UsageError(not_known(name, text, words))
        return found or text

    def complete(incomplete: str) -> list[str]:
        typed = incomplete.lower()
        # Typer drops what does not begin as it was typed: case is kept, and parsed away.
        return [incomplete + w[len(incomplete) :] for w in words if w.lower().startswith(typed)]

    if not open_to_all:
        told["help"] += f" One of {', '.join(words)}."
    shown: dict[str, Any] = {"metavar": "NAME", "parser": parse, "autocompletion": complete}
    return typer.Option(name, *others, **shown | told)


Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print the result as one JSON object.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress.")]
RawArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="RAW...", help="Raw logs: files, folders, globs, archives or ARCHIVE::MEMBER."
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training run.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Read this data set instead: one that has moved, or one that shares or extends the "
        "run's fit; its new values are OOV to the run.",
        show_default="as recorded",
    ),
]
TrustModel = Annotated[
    bool,
    typer.Option("--trust-model", help="Allow importing your own model that the run names."),
]
SplitOption = Annotated[str, among(SPLITS, "--split", help="Evaluate on this split.")]


def with_options(
    *classes: type, only: Sequence[str] = (), without: Sequence[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the declared options of some classes in the place of its ``**options``.

    Name, type, default, choices and help are those of the declarations. The command gets every
    option's value by name; `typed` tells those from the defaults that a user typed.

    Args:
        classes: made by `criteo_stream.base.options.options`.
        only: names of the options to take; all if empty.
        without: names of options to leave out.
    """

    def extend(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        taken = [
            option
            for cls in classes
            for option in declared(cls).values()
            if (option.name in only or not only) and option.name not in without
        ]
        derived = [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=_annotation(option),
            )
            for option in sorted(taken, key=lambda option: PANELS.index(option.panel))
        ]
        positional = [p.replace(kind=p.KEYWORD_ONLY) for p in own]
        # What is required comes first in --help.
        parameters = sorted([*positional, *derived], key=lambda p: p.default is not p.empty)
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in parameters}
        return function

    return extend


def values_of(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one class among a command's, by name."""
    return {name: options[name] for name in declared(cls)}


def typed(context: typer.Context) -> set[str]:
    """Names of the parameters that were given on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name != "DEFAULT"}


def _annotation(option: Option) -> Any:
    """How Typer is told of an option."""
    kind: Any = list[str] if option.kind is tuple else option.kind
    told: dict[str, Any] = {"help": option.help}
    if option.panel:
        told["rich_help_panel"] = option.panel
    if option.chosen_by:
        told["show_default"] = option.chosen_by
    if option.may_be_open:
        kind = kind | None
    names = [option.flag, *filter(None, [option.also]), *_SHORT.get(option.flag, ())]
    if option.choices:
        return Annotated[kind, among(option.choices, *names, **told)]
    told["metavar"] = metavar(option)
    if option.suggested:
        return Annotated[kind, among(option.suggested, *names, open_to_all=True, **told)]
    if option.kind in (int, float):
        told["parser"] = _number_of(option)
    return Annotated[kind, typer.Option(*names, **told)]


def metavar(option: Option) -> str:
    """What stands for an option's value."""
    if option.choices or option.suggested:
        return "NAME"
    by_kind = {str: "TEXT", int: "N", float: "X", Path: "PATH", tuple: "TEXT"}
    return "ROWS" if option.in_rows else by_kind.get(option.kind, "")


def _number_of(option: Option) -> Callable[[Any], Any]:
    """What reads an option's number as people write it."""

    def parse(text: Any) -> Any:
        if not isinstance(text, str):  # a default
            return text
        try:
            if not option.in_rows:
                return option.checked(option.kind(text))
            return parse_rows(text) if text.strip() != "0" else 0
        except UsageError as error:
            where = f"{option.flag}: " if option.in_rows else ""
            raise UsageError(f"{where}{error}") from None
        except ValueError:
            expected = EXPECTED[option.kind]
            raise UsageError(f"{option.flag} is {text[:80]!r}, expected {expected}") from None

    return parse
