"""The command line: options to a call, its result to text or JSON, errors to one sentence.

A file per command, in the order of ``--help``; each derives its options from where they are
declared.
"""

import atexit
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from criteo_stream.base.errors import CriteoStreamError
from criteo_stream.base.terminal import open_standard_streams, say, say_lines

from criteo_stream.cli import preprocess as _preprocess  # isort: skip
from criteo_stream.cli import train as _train  # isort: skip
from criteo_stream.cli import evaluate as _evaluate  # isort: skip
from criteo_stream.cli import predict as _predict  # isort: skip
from criteo_stream.cli import inspect as _inspect  # isort: skip
from criteo_stream.cli import export as _export  # isort: skip
from criteo_stream.cli import report as _report  # isort: skip
from criteo_stream.cli import progressive as _progressive  # isort: skip
from criteo_stream.cli import demo as _demo  # isort: skip
from criteo_stream.cli.app import app
from criteo_stream.cli.usage import tell_usage

_MEMORY = "/dev/shm"
_INTERRUPTED = {128 + signal.SIGINT: "interrupted", 128 + signal.SIGTERM: "terminated"}
"""Exit codes of commands that a signal ended, and of Typer's own while no command runs yet."""
COMMANDS = (
    _preprocess,
    _train,
    _evaluate,
    _predict,
    _inspect,
    _export,
    _report,
    _progressive,
    _demo,
)
"""Modules whose import registers a command."""

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of ``criteo-stream`` and of ``python -m criteo_stream``."""
    open_standard_streams()
    # Compute threads that spin for long while they wait take the cores from the loader and from
    # other programs: on a busy machine training is ten times slower. Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Matplotlib keeps a list of fonts in the home folder; a command writes where it was told to.
    if "MPLCONFIGDIR" not in os.environ and not _has_font_list():
        folder = _temporary_folder() / f"criteo-stream-{os.getpid()}"
        os.environ["MPLCONFIGDIR"] = str(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["MPLBACKEND"] = "agg"  # nothing is shown; an unknown one would end the command
    sys.exit(_code(None if arguments is None else list(arguments)))


def _code(arguments: list[str] | None) -> int:
    """Run a command; its exit code. What it raises is printed as text that no terminal obeys."""
    try:
        code = app(args=arguments, prog_name="criteo-stream", standalone_mode=False) or 0
        if word := _INTERRUPTED.get(code):
            say(f"{word}: the same command again continues")
        return code
    except typer.Abort:  # older Typers' word for an interruption while no command runs yet
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        return 1
    except (CriteoStreamError, OSError) as error:
        say(f"error: {error}")
        return getattr(error, "exit_code", 1)
    except Exception as error:
        if not hasattr(error, "show"):  # an error of ours in the program
            say_lines(traceback.format_exc())
            return 1
        tell_usage(error)
        return int(getattr(error, "exit_code", 2))


def _temporary_folder() -> Path:
    """Where temporary files go: in memory where no disk can be written, as in some containers."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        os.environ["TMPDIR"] = _MEMORY
        return Path(_MEMORY)


def _has_font_list() -> bool:
    """Whether Matplotlib's folder is there; not so without a home, or without access to it."""
    try:
        return os.access(Path.home() / ".cache" / "matplotlib", os.W_OK)
    except (OSError, RuntimeError):
        return False
