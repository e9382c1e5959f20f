"""``criteo-stream preprocess``."""

from pathlib import Path
from typing import Annotated

import typer

from criteo_stream.base.amounts import format_size
from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import Json, Quiet, RawArgument


@command
def preprocess(
    raw: RawArgument,
    out: Annotated[Path, typer.Option(help="Folder of the data set.")],
    split: Annotated[
        str, typer.Option(help="random by line, tail (in time order) or terabyte (last day).")
    ] = "random",
    valid: Annotated[
        float | None, typer.Option(help="Fraction of the valid split.", show_default="0.1")
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Fraction of the test split.", show_default="0.1")
    ] = None,
    valid_files: Annotated[
        list[str] | None, typer.Option(help="Files or globs that are the valid split.")
    ] = None,
    test_files: Annotated[
        list[str] | None, typer.Option(help="Files or globs that are the test split.")
    ] = None,
    layout: Annotated[str, typer.Option(help="auto, kaggle, terabyte or reczoo.")] = "auto",
    min_count: Annotated[
        int | None,
        typer.Option(
            help="Rarer values in training become OOV.", show_default="10, 5 below 1M training rows"
        ),
    ] = None,
    max_vocabulary: Annotated[
        int | None, typer.Option(help="Most known values a column.", show_default="no limit")
    ] = None,
    fit_from: Annotated[
        Path | None, typer.Option(help="Encode with the fit of this data set.")
    ] = None,
    memory: Annotated[str, typer.Option(help="Memory of the process tree, at least 1GB.")] = "4GB",
    workers: Annotated[
        int | None, typer.Option(help="Work with this many threads.", show_default="all cores")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split and the mixing.")] = 0,
    max_bad_rows: Annotated[
        int, typer.Option(help="Malformed lines to leave out before giving up.")
    ] = 0,
    short_lines: Annotated[
        str, typer.Option(help="Lines short only by trailing tabs: reject or pad.")
    ] = "reject",
    keep_order: Annotated[
        bool, typer.Option("--keep-order", help="Do not mix the rows of a block.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop what an earlier try left.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn raw logs into a prepared data set; the same command again continues."""
    from criteo_stream.prepare import preprocess as run

    result = run(
        raw,
        out,
        memory=memory,
        workers=workers,
        max_bad_rows=max_bad_rows,
        restart=restart,
        quiet=quiet,
        split=split,
        valid=valid,
        test=test,
        valid_files=tuple(valid_files or ()),
        test_files=tuple(test_files or ()),
        layout=layout,
        min_count=min_count,
        max_vocabulary=max_vocabulary,
        fit_from=str(fit_from) if fit_from else None,
        seed=seed,
        short_lines=short_lines,
        keep_order=keep_order,
    )
    figures = result.to_dict()
    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)
    rows = figures["rows"]
    text = (
        f"{out}: {rows['train']:,} training, {rows['valid']:,} valid and {rows['test']:,} test rows"
        f" ({rows['rejected']:,} rejected) in {figures['seconds']:.1f} s, "
        f"{figures['rows_per_second']:,} rows/s, "
        f"peak memory {format_size(figures['peak_memory_bytes'])}"
    )
    show(figures, text, as_json=as_json)
