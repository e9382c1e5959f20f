"""``criteo-stream preprocess``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from criteo_stream.base.amounts import counted, format_size
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
    thinned = f", {counted(rows['thinned'], 'negative')} thinned" if "thinned" in rows else ""
    lines = [
        f"{out}: {rows['train']:,} training, {rows['valid']:,} valid and "
        f"{counted(rows['test'], 'test row')} ({rows['rejected']:,} rejected{thinned})"
    ]
    if result.stages:  # else it was finished before
        lines.append(
            f"{result.seconds:.1f} s, {result.rows_per_second:,} rows/s, "
            f"peak memory {format_size(result.peak_memory_bytes)}"
        )
    show(result.to_dict(), *lines, as_json=as_json)
