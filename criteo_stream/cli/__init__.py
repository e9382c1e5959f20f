"""The command line: options to a call, its result to text or JSON, errors to one sentence.

A file per command, in the order of ``--help``; each derives its options from where they are
declared.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from criteo_stream.cli import preprocess as _preprocess  # isort: skip
from criteo_stream.cli import train as _train  # isort: skip
from criteo_stream.cli import evaluate as _evaluate  # isort: skip
from criteo_stream.cli import predict as _predict  # isort: skip
from criteo_stream.cli import inspect as _inspect  # isort: skip
from criteo_stream.cli import export as _export  # isort: skip
from criteo_stream.cli import report as _report  # isort: skip
from criteo_stream.cli import demo as _demo  # isort: skip
from criteo_stream.cli.app import app

COMMANDS = (_preprocess, _train, _evaluate, _predict, _inspect, _export, _report, _demo)
"""Modules whose import registers a command."""

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of ``criteo-stream`` and of ``python -m criteo_stream``."""
    # Compute threads that spin for long while they wait take the cores from the loader and from
    # other programs: on a busy machine training is ten times slower. Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Matplotlib keeps a list of fonts in the home folder; a command writes where it was told to.
    if "MPLCONFIGDIR" not in os.environ and not _has_font_list():
        folder = Path(tempfile.gettempdir()) / f"criteo-stream-{os.getpid()}"
        os.environ["MPLCONFIGDIR"] = str(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    app(args=arguments if arguments is None else list(arguments), prog_name="criteo-stream")


def _has_font_list() -> bool:
    """Whether Matplotlib's folder is there; not so without a home, or without access to it."""
    try:
        return (Path.home() / ".cache" / "matplotlib").exists()
    except (OSError, RuntimeError):
        return False
