"""``criteo-stream evaluate``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from criteo_stream.base.amounts import counted
from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import EVALUATED
from criteo_stream.base.torchrun_place import is_writer
from criteo_stream.cli.app import command_of_ranks, show
from criteo_stream.cli.parameters import (
    DataOption,
    Json,
    Quiet,
    RunArgument,
    TrustModel,
    among,
    with_options,
)
from criteo_stream.runs.execution import Execution


@command_of_ranks
@with_options(Execution, only=("device",))
def evaluate(
    run: RunArgument,
    data_argument: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="Data set to read, as --data.", hidden=True),
    ] = None,
    split: Annotated[
        str, among(EVALUATED, "--split", help="Evaluate on this split, or on all rows.")
    ] = "test",
    data: DataOption = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Compare with this run on the same rows, with an interval for the difference."
        ),
    ] = None,
    plots: Annotated[
        bool, typer.Option("--plots", help="Draw the calibration and ROC curves into RUN/plots.")
    ] = False,
    trust_model: TrustModel = False,
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Evaluate a run's best weights on a split, with 95 % intervals."""
    from criteo_stream.predict.evaluate import compare_runs, evaluate_run

    if data_argument is not None and data is not None:
        raise UsageError("the data set is given twice, as an argument and by --data: give it once")
    data = data_argument or data
    if against is None:
        found = evaluate_run(
            run, split, data=data, plots=plots, trust_model=trust_model, quiet=quiet, **options
        )
        figures, lines = found.to_dict(), []
    else:
        compared = compare_runs(
            run,
            against,
            split,
            data=data,
            plots=plots,
            trust_model=trust_model,
            quiet=quiet,
            **options,
        )
        found, figures = compared.evaluation, compared.to_dict()
        lines = [
            f"{against}:",
            *compared.other.table(),
            "difference:",
            *compared.difference.table(),
        ]
    if is_writer():
        head = f"{run} on {split}, {counted(found.rows, 'row')}:"
        show(figures, head, *found.table(), *lines, as_json=as_json)
