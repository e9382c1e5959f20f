"""``criteo-stream predict``."""

from pathlib import Path
from typing import Annotated

import typer

from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import DataOption, Json, Quiet, RawArgument, RunArgument


@command
def predict(
    run: RunArgument,
    raw: RawArgument,
    out: Annotated[Path, typer.Option(help="predictions.parquet or .csv.")],
    data: DataOption = None,
    layout: Annotated[str, typer.Option(help="auto, kaggle, terabyte or reczoo.")] = "auto",
    max_bad_rows: Annotated[
        int, typer.Option(help="Malformed lines to leave out before giving up.")
    ] = 0,
    short_lines: Annotated[
        str, typer.Option(help="Lines short only by trailing tabs: reject or pad.")
    ] = "reject",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score raw lines, with or without labels, in input order."""
    from criteo_stream.predict.scorer import predict_run

    found = predict_run(
        run,
        raw,
        out,
        data=data,
        layout=layout,
        max_bad_rows=max_bad_rows,
        short_lines=short_lines,
        quiet=quiet,
    )
    text = f"{out}: {found.rows:,} rows, {found.rows_per_second:,} rows/s"
    show(found.to_dict(), text, as_json=as_json)
