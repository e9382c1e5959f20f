"""``criteo-stream predict``."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from criteo_stream.base.amounts import counted
from criteo_stream.base.terminal import say
from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import (
    DataOption,
    Json,
    Quiet,
    RawArgument,
    RunArgument,
    TrustModel,
    among,
    with_options,
)
from criteo_stream.prepare.options import READING, PrepareExecution, PrepareOptions
from criteo_stream.runs.execution import Execution

FORMATS: Final = ("rows", "kaggle")


@command
@with_options(PrepareOptions, PrepareExecution, Execution, only=(*READING, "device"))
def predict(
    run: RunArgument,
    raw: RawArgument,
    out: Annotated[Path, typer.Option(help="Write the predictions to this .parquet or .csv file.")],
    output_format: Annotated[
        str,
        among(
            FORMATS,
            "--format",
            help="Write columns row, probability, and Id and label where they are known (rows), or "
            "the columns Id and Predicted of a Kaggle submission (kaggle, .csv only); without ids "
            "of their own, rows are numbered from 60000000, as Kaggle's test set is.",
        ),
    ] = "rows",
    data: DataOption = None,
    trust_model: TrustModel = False,
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Score raw lines, labelled or not, in input order."""
    from criteo_stream.predict.prediction_file import rejected_file
    from criteo_stream.predict.scorer import predict_run
    from criteo_stream.raw.malformed import left_out_text

    options |= {"output_format": output_format, "trust_model": trust_model}
    found = predict_run(run, raw, out, data=data, quiet=quiet, **options)
    for warning in found.warnings:
        say(f"warning: {warning}")
    if found.rejected:
        path = rejected_file(found.out)
        told = left_out_text(found.rejected, found.rejected_listed, path)
        say(f"warning: {told}")
    text = f"{found.out}: {counted(found.rows, 'row')}"
    if found.rows_per_second:
        text += f", {found.rows_per_second:,} rows/s"
    show(found.to_dict(), text, as_json=as_json)
