"""``criteo-stream export``."""

from pathlib import Path
from typing import Annotated, Final

import typer

from criteo_stream.base.amounts import format_size
from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import DataOption, Json, RunArgument, TrustModel, among

FORMATS: Final = ("onnx", "safetensors", "torch")


@command
def export(
    run: RunArgument,
    form: Annotated[str, among(FORMATS, "--format", help="Write the model in this format.")],
    out: Annotated[
        Path, typer.Option(help="Write the model, vocabularies and quantiles into this new folder.")
    ],
    data: DataOption = None,
    trust_model: TrustModel = False,
    as_json: Json = False,
) -> None:
    """Export a run's best weights, vocabularies and quantiles for other programs."""
    from criteo_stream.predict.export import export_run

    made = export_run(run, form, out, data=data, trust_model=trust_model)
    compared = ", compared with the model" if made.checked else ""
    text = f"{out}: {form}, {format_size(made.bytes)}{compared}"
    show(made.to_dict(), text, as_json=as_json)
