"""``criteo-stream predict``."""

from pathlib import Path
from typing import Annotated, Any

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
    with_options,
)
from criteo_stream.prepare.options import READING, PrepareExecution, PrepareOptions
from criteo_stream.runs.execution import Execution


@command
@with_options(PrepareOptions, PrepareExecution, Execution, only=(*READING, "device"))
def predict(
    run: RunArgument,
    raw: RawArgument,
    out: Annotated[Path, typer.Option(help="Write the predictions to this .parquet or .csv file.")],
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

    found = predict_run(run, raw, out, data=data, trust_model=trust_model, quiet=quiet, **options)
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
