"""Commands that answer wrong usage in one sentence, which names what was meant.

Typer's own errors are of its own classes or of Click's, by Typer's version, and worded by either:
what is asked of them here is alike in all.
"""

import re
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

from criteo_stream.base.errors import UsageError
from criteo_stream.base.spelling import did_you_mean
from criteo_stream.base.terminal import say, say_lines
from criteo_stream.cli.examples import EXAMPLES


class _PlainTypes:
    """Help that names the values of options in plain words, and ends in examples."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, ``--help`` too; Typer would name Python's types of those without one."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in found:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: None
            elif parameter.metavar is None:
                parameter.metavar = "" if parameter.is_flag else "PATH"
        return found

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help as Typer prints it, and below it whole command lines."""
        super().format_help(ctx, formatter)  # type: ignore[misc]
        lines = EXAMPLES.get(ctx.info_name) or EXAMPLES[""]
        formatter.write("\n".join([" Examples:", *(f"   {line}" for line in lines), ""]))


class Commands(_PlainTypes, TyperGroup):
    """The group of all commands; of a misspelt one it names the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names."""
        name = args[0]
        if not (name.startswith("-") or name in self.commands or ctx.resilient_parsing):
            hint = did_you_mean(name, self.commands) or ": see criteo-stream --help"
            raise UsageError(f"no such command {name}{hint}")
        return super().resolve_command(ctx, args)


class Command(_PlainTypes, TyperCommand):
    """A command that takes no input for what was meant as a value of an option.

    In ``--valid-files a b`` the parser takes ``a`` as the value, and ``b`` as one more input to
    train on. Nobody can tell which was meant, so it says so.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, after a look at what follows each option that may be given several times."""
        repeatable = {name for p in self.params if getattr(p, "multiple", False) for name in p.opts}
        many_inputs = any(p.param_type_name == "argument" and p.nargs < 0 for p in self.params)
        if many_inputs and (pair := _followed(args, repeatable)):
            option, first, second = pair
            raise UsageError(
                f"{second} follows {option} {first}: repeat the option for one more value "
                f"({option} {first} {option} {second}), quote a glob, or put the inputs before all "
                "options"
            )
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The arguments of the line ``Usage: ...`` by their metavars, without hidden ones."""
        arguments = [
            str(p.metavar or p.name).upper()
            for p in self.get_params(ctx)
            if p.param_type_name == "argument" and not getattr(p, "hidden", False)
        ]
        return [*arguments, self.options_metavar or ""]


def tell_usage(error: Any) -> None:
    """Print Typer's error about wrong usage as one sentence; help where nothing was asked for."""
    if type(error).__name__ == "NoArgsIsHelpError":
        if text := error.format_message():  # with Rich it is on the screen already
            say_lines(text)
    else:
        say(f"error: {_sentence(error)}")


def _sentence(error: Any) -> str:
    context = getattr(error, "ctx", None)
    see = f": see {context.command_path} --help" if context else ""
    kind = type(error).__name__
    if kind == "NoSuchOption":
        option = str(error.option_name)
        parameters = context.command.get_params(context) if context else []
        known = [name for p in parameters if not getattr(p, "hidden", False) for name in p.opts]
        known = [name for name in known if name.startswith("--")]
        return f"no such option {option}{did_you_mean(option, known) or see}"
    if kind == "MissingParameter" and error.param is not None:
        return f"{_name(error.param)} is missing{see}"
    message = str(error.message).rstrip(".")
    if extra := re.fullmatch(r"Got unexpected extra argument\S* \((.*)\)", message, re.DOTALL):
        return f"unexpected argument {extra[1]}{see}"
    if parameter := getattr(error, "param", None):
        return f"{_name(parameter)}: {_uncapitalised(message)}"
    return re.sub(r"'(--?[\w-]+)'", r"\1", _uncapitalised(message)) + see


def _name(parameter: Any) -> str:
    """What a user types for it."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).upper()
    return str(parameter.opts[0])


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def _followed(args: Sequence[str], options: set[str]) -> tuple[str, str, str] | None:
    """The first option of some that two words follow, with them."""
    own = args[: args.index("--")] if "--" in args else args
    for option, first, second in zip(own, own[1:], own[2:], strict=False):
        if option in options and (not second.startswith("-") or second == "-"):
            return option, first, second
    return None
