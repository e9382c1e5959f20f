"""Options that may be given several times: a second value behind one is refused, not guessed at."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command that takes no input for what was meant as a value of an option.

    In ``--valid-files a b`` the parser takes ``a`` as the value, and ``b`` as one more input to
    train on. Nobody can tell which was meant, so it says so.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, after a look at what follows each such option."""
        repeatable = {name for p in self.params if getattr(p, "multiple", False) for name in p.opts}
        if pair := _followed(args, repeatable):
            option, first, second = pair
            ctx.fail(
                f"{second} follows {option} {first}: repeat the option for one more value "
                f"({option} {first} {option} {second}), quote a glob, or put the inputs before all "
                "options"
            )
        return super().parse_args(ctx, args)


def _followed(args: Sequence[str], options: set[str]) -> tuple[str, str, str] | None:
    """The first option of some that two words follow, with them."""
    own = args[: args.index("--")] if "--" in args else args
    for option, first, second in zip(own, own[1:], own[2:], strict=False):
        if option in options and (not second.startswith("-") or second == "-"):
            return option, first, second
    return None
