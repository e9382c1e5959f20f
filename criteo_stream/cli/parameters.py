"""Parameters of commands: those that several share, and those that derive from declared options."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from criteo_stream.base.amounts import parse_rows
from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import Option, declared
from criteo_stream.base.schema import SPLITS

_SHORT: Final = {"--quiet": ["-q"]}


def among(words: Sequence[str], *names: str, **told: Any) -> Any:
    """How Typer is told of an option with known words: shown in ``--help``, offered to complete.

    Which they are is checked where the option is declared, so that all mistakes read alike.
    """

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete.lower())]

    return typer.Option(*names, metavar="|".join(words), autocompletion=complete, **told)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
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
        help="Read this data set of the same fit, such as one that has moved, or of a fit that "
        "extends it: values that are new there are OOV to the run.",
        show_default="as recorded",
    ),
]
TrustModel = Annotated[
    bool,
    typer.Option("--trust-model", help="Import the model that the run names by its path."),
]
SplitOption = Annotated[str, among(SPLITS, help="Evaluate on this split.")]


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
        derived = [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=_annotation(option),
            )
            for cls in classes
            for option in declared(cls).values()
            if (option.name in only or not only) and option.name not in without
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
    if option.in_rows:
        told |= {"parser": _rows, "metavar": "ROWS"}
    if option.chosen_by:
        told["show_default"] = option.chosen_by
    if option.may_be_open:
        kind = kind | None
    names = [option.flag, *_SHORT.get(option.flag, ())]
    if option.choices:
        return Annotated[kind, among(option.choices, *names, **told)]
    return Annotated[kind, typer.Option(*names, **told)]


def _rows(text: str) -> int:
    """Rows as people write them, or 0."""
    try:
        return parse_rows(text) if str(text).strip() != "0" else 0
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None
