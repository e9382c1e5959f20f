"""``criteo-stream inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import Json


@command
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Raw file, data set or run.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file against its checksum.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a raw file, a data set or a run holds."""
    from criteo_stream.report.inspection import inspect as look

    found = look(path, verify=verify)
    show(found.figures, *found.lines, as_json=as_json)
