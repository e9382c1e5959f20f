"""``criteo-stream progressive``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from criteo_stream.base.terminal import say
from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import Json, Quiet, RawArgument, values_of, with_options
from criteo_stream.daily.options import ProgressiveOptions
from criteo_stream.prepare.options import PrepareExecution, PrepareOptions
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.execution import Execution
from criteo_stream.runs.model_names import refuse_unknown_model

_PREPARING = ("layout", "min_count", "max_vocabulary", "short_lines", "memory", "max_bad_rows")
_EXECUTING = ("device", "trust_model", "threads", "cache")


@command
@with_options(Execution, only=_EXECUTING)
@with_options(PrepareOptions, PrepareExecution, only=_PREPARING)
@with_options(ProgressiveOptions, TrainConfig)
def progressive(
    raw: RawArgument,
    out: Annotated[Path, typer.Option(help="Write data sets, runs and figures into this folder.")],
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Predict each day with yesterday's model, then train on that day.

    Each RAW file is a day. Run the same command again to continue, also with more days.
    """
    refuse_unknown_model(options["model"])
    from criteo_stream.daily.loop import progressive as run

    result = run(
        raw,
        out,
        TrainConfig(**values_of(TrainConfig, options)),
        keep=options["keep"],
        prepare={name: options[name] for name in _PREPARING},  # type: ignore[arg-type]
        execution={name: options[name] for name in _EXECUTING},  # type: ignore[arg-type]
        quiet=quiet,
    )
    for warning in result.warnings:
        say(f"warning: {warning}")
    show(result.to_dict(), *result.text(), as_json=as_json)
