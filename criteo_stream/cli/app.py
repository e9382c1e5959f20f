"""The command line: options to a call, its result to text or JSON, errors to one sentence.

Each command imports what it needs when it runs, so that ``--help`` loads neither torch nor polars.
"""

import atexit
import functools
import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from criteo_stream import __version__
from criteo_stream.base.amounts import format_size, parse_rows
from criteo_stream.base.errors import CriteoStreamError, OtherRankError, UsageError
from criteo_stream.runs.config import TrainConfig, read_toml

P = ParamSpec("P")

DEFAULTS = TrainConfig()

app = typer.Typer(
    name="criteo-stream",
    help="Raw Criteo click logs of any size to a trained factorization machine, out of core.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Workers = Annotated[int | None, typer.Option(help="Threads.", show_default="all cores")]
BadRows = Annotated[int, typer.Option(help="Malformed lines to leave out before giving up.")]
ShortLines = Annotated[str, typer.Option(help="Lines short only by trailing tabs: reject or pad.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training run.")]
DataOption = Annotated[
    Path | None, typer.Option(help="The data set, if it moved.", show_default="as recorded")
]


_verbose: ContextVar[bool] = ContextVar("verbose", default=False)


def _explained(command: Callable[P, None]) -> Callable[P, None]:
    """Tell a user's error in one sentence on stderr, with the exit code of its kind."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except CriteoStreamError as error:
            if _verbose.get():
                traceback.print_exception(error)
            if str(error) or not isinstance(error, OtherRankError):
                typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted: the same command again continues", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise typer.Exit(1) from None
        except OSError as error:  # permissions, a lost disk: the system's words say it best
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None

    return run


def _show(figures: dict[str, Any], text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(figures) if as_json else text)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With an error, show where it came from.")
    ] = False,
) -> None:
    _verbose.set(verbose)


def _rows(text: str) -> int:
    """Rows in human units, or 0."""
    try:
        return parse_rows(text) if str(text).strip() != "0" else 0
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


def _print_config(context: typer.Context, wanted: bool) -> None:
    """Print the options of a configuration file, with what they mean, and end."""
    if not wanted:
        return
    lines = [
        "# Options that decide a run, for `criteo-stream train DATA --run RUN --config FILE`.",
        "# Those given on the command line go before these; a run's own config.toml works as well.",
        "[train]",
    ]
    options = {option.name: option for option in context.command.params}
    for name, default in DEFAULTS.to_dict().items():
        shown = getattr(options[name], "show_default", None)
        known = f" Default: {shown}." if isinstance(shown, str) else ""
        lines.append(f"\n# {getattr(options[name], 'help', '')}{known}")
        lines.append(f"# {name} =" if default is None else f"{name} = {json.dumps(default)}")
    typer.echo("\n".join(lines))
    raise typer.Exit


@app.command()
@_explained
def preprocess(
    raw: Annotated[list[str], typer.Argument(metavar="RAW...", help="Files, folders or globs.")],
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
    workers: Workers = None,
    seed: Annotated[int, typer.Option(help="Of the split and the mixing.")] = 0,
    max_bad_rows: BadRows = 0,
    short_lines: ShortLines = "reject",
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

    options: dict[str, Any] = {
        "memory": memory,
        "workers": workers,
        "max_bad_rows": max_bad_rows,
        "restart": restart,
        "quiet": quiet,
        "split": split,
        "valid": valid,
        "test": test,
        "valid_files": valid_files or (),
        "test_files": test_files or (),
        "layout": layout,
        "min_count": min_count,
        "max_vocabulary": max_vocabulary,
        "fit_from": fit_from,
        "seed": seed,
        "short_lines": short_lines,
        "keep_order": keep_order,
    }
    result = run(raw, out, **options)
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
    _show(figures, text, as_json=as_json)


@app.command()
@_explained
def train(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")],
    run: Annotated[Path, typer.Option(help="Folder of the run.")],
    config: Annotated[
        Path | None, typer.Option(help="A run's config.toml; options given here go before it.")
    ] = None,
    from_run: Annotated[
        Path | None, typer.Option("--from", help="Start from the best weights of this run.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="lr, fm, ffm, bilinear-ffm, deepfm, fibinet, or package.module:Class for your own."
        ),
    ] = DEFAULTS.model,
    embedding_dim: Annotated[
        int | None,
        typer.Option(help="Length of the vectors.", show_default="by model, 4 for ffm, else 16"),
    ] = DEFAULTS.embedding_dim,
    hidden: Annotated[
        str, typer.Option(help="Hidden layers of deepfm and fibinet.")
    ] = DEFAULTS.hidden,
    bilinear: Annotated[
        str,
        typer.Option(help="Matrices of bilinear-ffm and fibinet: all, each or interaction."),
    ] = DEFAULTS.bilinear,
    pairs: Annotated[
        str, typer.Option(help="What fibinet's layers get of a pair: inner or hadamard.")
    ] = DEFAULTS.pairs,
    layer_norm: Annotated[
        bool, typer.Option("--layer-norm", help="Normalise bilinear-ffm's interaction.")
    ] = DEFAULTS.layer_norm,
    numeric: Annotated[
        str, typer.Option(help="Integers as value, bins or both.")
    ] = DEFAULTS.numeric,
    bins: Annotated[
        int | None,
        typer.Option(
            help="Bins of an integer column.", show_default="32, 16 below 200k training rows"
        ),
    ] = DEFAULTS.bins,
    init_scale: Annotated[
        float | None,
        typer.Option(help="Deviation of the first vectors.", show_default="0.01; ffm 0.03"),
    ] = DEFAULTS.init_scale,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the training rows.", show_default="by rows, 1 from 3M on"),
    ] = DEFAULTS.epochs,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Rows of a batch, over all ranks.", show_default="by rows, 512 to 8192"),
    ] = DEFAULTS.batch_size,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak rate; it falls to zero.", show_default="by batch size, 0.01 to 0.02"
        ),
    ] = DEFAULTS.learning_rate,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Adam's epsilon on the tables.", show_default="1e-4; ffm 1e-5"),
    ] = DEFAULTS.epsilon,
    warmup: Annotated[
        float, typer.Option(help="Fraction of the steps with a rising rate.")
    ] = DEFAULTS.warmup,
    l2_linear: Annotated[
        float, typer.Option(help="L2 of looked-up linear weights.")
    ] = DEFAULTS.l2_linear,
    l2_embedding: Annotated[
        float | None,
        typer.Option(help="L2 of looked-up vectors.", show_default="300 / training rows; ffm 100"),
    ] = DEFAULTS.l2_embedding,
    seed: Annotated[int, typer.Option(help="Of the first weights and the order.")] = DEFAULTS.seed,
    lanes: Annotated[int, typer.Option(help="Row sequences a batch draws from.")] = DEFAULTS.lanes,
    evaluate_every: Annotated[
        int,
        typer.Option(
            parser=_rows,
            metavar="ROWS",
            help="Training rows between evaluations, like 500k; 0: once an epoch.",
        ),
    ] = DEFAULTS.evaluate_every,
    monitor: Annotated[
        str, typer.Option(help="What is best by: auc or log_loss.")
    ] = DEFAULTS.monitor,
    patience: Annotated[
        int, typer.Option(help="Evaluations without a better one before stopping; 0: never.")
    ] = DEFAULTS.patience,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            parser=_rows,
            metavar="ROWS",
            help="Training rows between checkpoints, like 2M; evaluations end in one too.",
        ),
    ] = 0,
    checkpoint_minutes: Annotated[
        float, typer.Option(help="Minutes between checkpoints; 0: by rows and evaluations only.")
    ] = 10.0,
    keep: Annotated[int, typer.Option(help="Latest checkpoints kept, beside the best.")] = 2,
    workers: Annotated[int, typer.Option(help="Loader threads a rank; 0 loads inline.")] = 1,
    threads: Annotated[
        int | None, typer.Option(help="Compute threads a rank.", show_default="cores / ranks")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write RUN/tensorboard too.")
    ] = False,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config",
            callback=_print_config,
            is_eager=True,
            help="Print a commented configuration file with the defaults, and end.",
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train on a prepared data set; the same command again continues.

    On several processes or GPUs:
    torchrun --nproc-per-node N --no-python -- criteo-stream train DATA --run RUN ...
    (Without the -- before the program, torchrun takes --run and --monitor for its own options.)
    """
    from criteo_stream.train.trainer import Trainer

    given = {
        name: value
        for name, value in context.params.items()
        if name in TrainConfig.__dataclass_fields__
    }
    merged, config_from = _merged(context, given, config)
    trainer = Trainer(
        data,
        run,
        merged,
        workers=workers,
        checkpoint_every=checkpoint_every,
        checkpoint_minutes=checkpoint_minutes,
        keep=keep,
        threads=threads,
        from_run=from_run or config_from,
        tensorboard=tensorboard,
        quiet=quiet,
    )
    result = trainer.fit()
    if _is_writer():
        _show(result.to_dict(), result.summary(), as_json=as_json)


def _is_writer() -> bool:
    """Whether this process is the one that prints, of those that torchrun started."""
    return int(os.environ.get("RANK", 0)) == 0


def _merged(
    context: typer.Context, options: dict[str, Any], config: Path | None
) -> tuple[TrainConfig, Path | None]:
    """Options given on the command line go before the file's, the file's before the defaults.

    Returns:
        The options, and the run that the file's run took its first weights from.
    """
    if config is None:
        return TrainConfig(**options), None
    raw = read_toml(config)
    values = raw.get("train")
    if not isinstance(values, dict):
        raise UsageError(f"{config} has no [train] table: give the config.toml of a run")
    source = context.get_parameter_source
    explicit = {
        name: value
        for name, value in options.items()
        if (origin := source(name)) is not None and origin.name != "DEFAULT"
    }
    start = raw.get("start", {}).get("from")
    return TrainConfig.from_dict(values | explicit, str(config)), Path(start) if start else None


@app.command()
@_explained
def evaluate(
    run: RunArgument,
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="A set with the same fit.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    against: Annotated[
        Path | None, typer.Option(help="Another run of the same fit: is the difference real?")
    ] = None,
    plots: Annotated[
        bool, typer.Option("--plots", help="Draw reliability and ROC curve into RUN/plots.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evaluate a run's best weights on a split, with 95 % intervals."""
    from criteo_stream.metrics.evaluation import figures_text
    from criteo_stream.predict.evaluate import compare_runs, evaluate_run

    if against is None:
        figures = evaluate_run(run, split, data=data, plots=plots, quiet=quiet)
    else:
        figures = compare_runs(run, against, split, data=data, plots=plots, quiet=quiet)
    if _is_writer():
        text = f"{split}: {figures_text(figures)} on {figures['rows']:,} rows"
        if against is not None:
            text += (
                f"\n{against}: {figures_text(figures['against'])}"
                f"\ndifference: {figures_text(figures['difference'], '+.6f')}"
            )
        _show(figures, text, as_json=as_json)


@app.command()
@_explained
def predict(
    run: RunArgument,
    raw: Annotated[list[str], typer.Argument(metavar="RAW...", help="Files, folders or globs.")],
    out: Annotated[Path, typer.Option(help="predictions.parquet or .csv.")],
    data: DataOption = None,
    layout: Annotated[str, typer.Option(help="auto, kaggle, terabyte or reczoo.")] = "auto",
    max_bad_rows: BadRows = 0,
    short_lines: ShortLines = "reject",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score raw lines, with or without labels, in input order."""
    from criteo_stream.predict.scorer import predict_run

    figures = predict_run(
        run,
        raw,
        out,
        data=data,
        layout=layout,
        max_bad_rows=max_bad_rows,
        short_lines=short_lines,
        quiet=quiet,
    )
    text = f"{out}: {figures['rows']:,} rows, {figures['rows_per_second']:,} rows/s"
    _show(figures, text, as_json=as_json)


@app.command()
@_explained
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Raw file, data set or run.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check every checksum.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a raw file, a data set or a run holds."""
    from criteo_stream.report.inspection import inspect as look

    figures, text = look(path, verify=verify)
    _show(figures, text, as_json=as_json)


@app.command()
@_explained
def export(
    run: RunArgument,
    form: Annotated[str, typer.Option("--format", help="onnx, safetensors or torch.")],
    out: Annotated[Path, typer.Option(help="New folder for the model and its fit.")],
    data: DataOption = None,
    as_json: Json = False,
) -> None:
    """Write a run's best weights for other programs, with vocabularies and quantiles."""
    from criteo_stream.predict.export import export_run

    figures = export_run(run, form, out, data=data)
    compared = ", compared with the model" if figures["checked"] else ""
    text = f"{out}: {form}, {format_size(figures['bytes'])}{compared}"
    _show(figures, text, as_json=as_json)


@app.command()
@_explained
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, compared to the first.")
    ],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "valid",
    data: DataOption = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a page about runs: figures, curves, columns and data, in one HTML file."""
    from criteo_stream.report import write_report

    figures = write_report(runs, out, split=split, data=data, quiet=quiet)
    _show(figures, f"{out}: {len(runs)} runs, {format_size(figures['bytes'])}", as_json=as_json)


@app.command()
@_explained
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("demo-output"),
    rows: Annotated[str, typer.Option(help="Synthetic rows, like 500k or 2M.")] = "500k",
    seed: Annotated[int, typer.Option(help="Of the data and the training.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier demo in the folder.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Synthesise logs, prepare, train, evaluate and predict; ends in numbers and a plot."""
    from criteo_stream.cli.demo import run_demo

    figures, text = run_demo(out, parse_rows(rows), seed=seed, force=force, quiet=quiet)
    _show(figures, text, as_json=as_json)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of ``criteo-stream`` and of ``python -m criteo_stream``."""
    # Compute threads that spin for long while they wait take the cores from the loader and from
    # other programs: on a busy machine training is ten times slower. Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Matplotlib keeps a list of fonts in the home folder; a command writes where it was told to.
    if "MPLCONFIGDIR" not in os.environ and not (Path.home() / ".cache" / "matplotlib").exists():
        folder = Path(tempfile.gettempdir()) / f"criteo-stream-{os.getpid()}"
        os.environ["MPLCONFIGDIR"] = str(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    app(args=arguments if arguments is None else list(arguments), prog_name="criteo-stream")
