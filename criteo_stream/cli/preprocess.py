"""``criteo-stream preprocess``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from criteo_stream.base.terminal import say
from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import Json, RawArgument, with_options
from criteo_stream.prepare.options import PrepareExecution, PrepareOptions


@command
@with_options(PrepareOptions, PrepareExecution, without=["block_rows"])
def preprocess(
    raw: RawArgument,
    out: Annotated[Path, typer.Option(help="Write the data set into this folder.")],
    as_json: Json = False,
    **options: Any,
) -> None:
    """Turn raw logs into a prepared data set; run the same command again to continue."""
    from criteo_stream.prepare.pipeline import preprocess as run
    from criteo_stream.raw.malformed import left_out_text

    result = run(raw, out, **options)
    for warning in result.warnings:
        say(f"warning: {warning}")
    rows = result.manifest.rows
    if rows["rejected"]:
        told = left_out_text(rows["rejected"], result.rejected_listed, result.rejected_file)
        say(f"warning: {told}")
    show(result.to_dict(), *result.lines(), as_json=as_json)
