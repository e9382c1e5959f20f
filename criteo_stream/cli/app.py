"""The application: its global options, and how a command tells of an error.

Each command imports what it needs when it runs, so that ``--help`` loads neither torch nor polars.
"""

import functools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final, ParamSpec

import typer

from criteo_stream import __version__
from criteo_stream.base.errors import CriteoStreamError, OtherRankError, OutputError, UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.base.terminal import drop_stdout, say, say_lines, visible
from criteo_stream.base.threads import refuse_too_few_threads, threads_explained
from criteo_stream.base.torchrun_place import place
from criteo_stream.cli.usage import Command, Commands

P = ParamSpec("P")

app: Final = typer.Typer(
    name="criteo-stream",
    help="Turn raw Criteo click logs of any size into a trained factorization machine, "
    "out of core.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_verbose: ContextVar[bool] = ContextVar("verbose", default=False)


class Terminated(KeyboardInterrupt):
    """SIGTERM, told like Ctrl-C."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Register a command that tells a user's error in one sentence, with the exit code of its kind.

    The sentence goes to stderr; ``--verbose`` adds where the error came from.
    """
    return _registered(function, several_ranks=False)


def command_of_ranks(function: Callable[P, None]) -> Callable[P, None]:
    """The same for a command that several processes under torchrun run together."""
    return _registered(function, several_ranks=True)


def _registered(function: Callable[P, None], *, several_ranks: bool) -> Callable[P, None]:
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminate)  # while it trains, training has its own way
        try:
            if not several_ranks:
                _refuse_ranks(function.__name__)
            refuse_too_few_threads()
            with threads_explained():
                function(*args, **{name: _expanded(value) for name, value in kwargs.items()})
        except CriteoStreamError as error:
            if _verbose.get():
                say_lines("".join(traceback.format_exception(error)))
            if str(error) or not isinstance(error, OtherRankError):
                say(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interruption:
            number = signal.SIGTERM if isinstance(interruption, Terminated) else signal.SIGINT
            raise typer.Exit(128 + number) from None
        except BrokenPipeError:
            raise typer.Exit(1) from None
        except OSError as error:  # permissions, a lost disk: the system's words say it best
            say(f"error: {_in_words(error)}")
            raise typer.Exit(1) from None

    return app.command(cls=Command)(run)


def _in_words(error: OSError) -> str:
    """The file and the system's reason, without the number and Python's quotes."""
    if error.strerror is None:
        return str(error)
    files = (error.filename, error.filename2)
    names = " and ".join(os.fsdecode(name) for name in files if isinstance(name, str | bytes))
    return f"{names}: {error.strerror}" if names else error.strerror


def _expanded(value: Any) -> Any:
    """A parameter with ``~`` expanded in its paths; a shell leaves it in ``--out=~/data``."""
    if isinstance(value, Path):
        return user_path(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_expanded, value))
    return value


def _refuse_ranks(name: str) -> None:
    here = place()
    if here.rank:  # torchrun would end the rank that explains it, were this one to fail
        raise typer.Exit(0)
    if here.world_size > 1:
        raise UsageError(f"{name} is one process, not {here.world_size}: run it without torchrun")


def show(figures: Mapping[str, object], *lines: str, as_json: bool) -> None:
    """Print a command's result: one JSON object as the last line, or lines for a person.

    Raises:
        OutputError: stdout cannot take it.
    """
    # JSON leaves one control character as it is.
    told = [json.dumps(figures).replace("\x7f", "\\u007f")] if as_json else map(visible, lines)
    print_out("\n".join(told))


def print_out(text: str) -> None:
    """Print a text on stdout; nothing where it was closed beforehand.

    Raises:
        BrokenPipeError: nobody reads it any more.
        OutputError: stdout cannot take it.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
        raise
    except OSError as error:
        drop_stdout()
        raise OutputError(
            f"the result cannot be printed ({error.strerror}), the work itself is done: "
            "give stdout somewhere to go"
        ) from None


def _version(value: bool) -> None:
    if value:
        print_out(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With an error, show where it came from.")
    ] = False,
) -> None:
    _verbose.set(verbose)
