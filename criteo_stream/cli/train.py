"""``criteo-stream train``: options of the command line over those of a file over the defaults."""

from pathlib import Path
from typing import Annotated, Any

import typer

from criteo_stream.base.memory import keep_freed_memory
from criteo_stream.base.options import declared
from criteo_stream.base.toml import write_toml
from criteo_stream.base.torchrun_place import is_writer
from criteo_stream.cli.app import command_of_ranks, print_out, show
from criteo_stream.cli.parameters import Json, typed, values_of, with_options
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.config_file import read_config, run_of
from criteo_stream.runs.execution import Execution
from criteo_stream.runs.model_names import refuse_unknown_model


def _print_config(wanted: bool) -> None:
    """Print a configuration file with the defaults and what they mean, and end."""
    if wanted:
        print_out(config_text())
        raise typer.Exit


@command_of_ranks
@with_options(TrainConfig, Execution)
def train(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a prepared data set.")],
    out: Annotated[Path, typer.Option(help="Write the run into this folder.")],
    config: Annotated[
        Path | None,
        typer.Option(help="Read options from a run's config.toml; options given here override it."),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config",
            callback=_print_config,
            is_eager=True,
            help="Print a commented configuration file with the defaults, and exit.",
        ),
    ] = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Train on a prepared data set; run the same command again to continue.

    To use several processes or GPUs, start it with torchrun.
    """
    execution = Execution(**values_of(Execution, options))
    merged, config_from = _merged(
        context, values_of(TrainConfig, options), config, trust_model=execution.trust_model
    )
    refuse_unknown_model(merged.model)  # before PyTorch is loaded

    from criteo_stream.train.trainer import Trainer

    keep_freed_memory()
    trainer = Trainer(
        data,
        out,
        merged,
        **{**values_of(Execution, options), "from_run": execution.from_run or config_from},
    )
    result = trainer.fit()
    if is_writer(any_launcher=True):
        show(result.to_dict(), *result.lines(), as_json=as_json)


def _merged(
    context: typer.Context, options: dict[str, Any], config: Path | None, *, trust_model: bool
) -> tuple[TrainConfig, Path | None]:
    """Options given on the command line override the file's, the file's override the defaults.

    Returns:
        The options, and the run that the file's run took its first weights from.
    """
    if config is None:
        return TrainConfig(**options), None
    found = read_config(config)
    explicit = {name: value for name, value in options.items() if name in typed(context)}
    merged = TrainConfig.from_dict(found.options | explicit, str(config))
    if "model" not in explicit:
        from criteo_stream.predict.trust import refuse_untrusted_model

        where = run_of(config) or config
        refuse_untrusted_model(merged.model, where, trust_model=trust_model)
    return merged, found.from_run


def config_text() -> str:
    """A configuration file with the defaults; open options as comments."""
    lines = [
        "# Options that decide a run, for `criteo-stream train DATA --out RUN --config FILE`.",
        "# Options given on the command line override these; a run's config.toml works as well.",
        "[train]",
    ]
    for option in declared(TrainConfig).values():
        chosen = f" Default: {option.chosen_by}." if option.chosen_by else ""
        lines.append(f"\n# {option.help}{chosen}")
        if option.default is None:
            lines.append(f"# {option.name} =")
        else:
            table = write_toml({"train": {option.name: option.default}})
            lines.append(table.removeprefix("[train]\n").strip())
    return "\n".join(lines)
