"""``criteo-stream report``."""

from pathlib import Path
from typing import Annotated

import typer

from criteo_stream.base.amounts import counted, format_size
from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import DataOption, Json, Quiet, SplitOption, TrustModel


@command
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs; each is compared with the first."),
    ],
    out: Annotated[Path, typer.Option(help="Write this HTML file.")] = Path("report.html"),
    split: SplitOption = "valid",
    data: DataOption = None,
    trust_model: TrustModel = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a report about runs, their curves, columns and data as one HTML file."""
    from criteo_stream.report import write_report

    page = write_report(runs, out, split=split, data=data, trust_model=trust_model, quiet=quiet)
    text = f"{out}: {counted(len(runs), 'run')}, {format_size(page.bytes)}"
    show(page.to_dict(), text, as_json=as_json)
