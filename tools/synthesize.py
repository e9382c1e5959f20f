"""Write a synthetic Criteo log: `python -m tools.synthesize --rows 2M --out train.tsv`."""

import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from criteo_stream.base.amounts import parse_rows
from criteo_stream.base.errors import CriteoStreamError, OutputError, UsageError
from criteo_stream.base.progress import Progress
from criteo_stream.base.terminal import say
from criteo_stream.synthetic import write_days, write_synthetic
from criteo_stream.synthetic.writing import STDOUT

_SUFFIXES: Final = {"none": "", "gz": ".gz", "zst": ".zst"}


def synthesize(
    out: Annotated[Path, typer.Option(help="Raw lines; .gz and .zst are compressed; - is stdout.")],
    rows: Annotated[str, typer.Option(help="How many, such as 500k, 2M or 45840617.")] = "500k",
    seed: Annotated[int, typer.Option(help="Chooses the rows, not the teacher.")] = 0,
    start: Annotated[int, typer.Option(help="First row of the seed's endless log.")] = 0,
    days: Annotated[
        int | None,
        typer.Option(
            help="Write so many days of ROWS each into the folder OUT, as day_0 and so on."
        ),
    ] = None,
    drift: Annotated[
        float,
        typer.Option(
            help="With --days: the share of a column's values that begin to be replaced each day."
        ),
    ] = 0.1,
    compression: Annotated[str, typer.Option(help="With --days: none, gz or zst.")] = "none",
    layout: Annotated[
        str, typer.Option(help="kaggle or terabyte: the same 40 columns.")
    ] = "kaggle",
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="39 columns, as in Kaggle's test.txt.")
    ] = False,
    truth: Annotated[
        Path | None,
        typer.Option(help="Best possible AUC and log loss, as JSON; default OUT.truth.json."),
    ] = None,
    probabilities: Annotated[
        Path | None, typer.Option(help="Parquet file with each row's true click probability.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Write Criteo lines with labels from a hidden factorization machine, and their truth.

    A folder given to `criteo-stream preprocess` may hold raw files only: put the truth elsewhere.
    """
    if days is not None:
        _write_days(
            out,
            days,
            rows,
            seed,
            drift,
            compression,
            truth,
            odd=unlabelled or bool(probabilities or start),
            quiet=quiet,
        )
        return
    if truth is None and out != STDOUT:
        stem = out.stem if out.suffix in {".gz", ".zst"} else out.name
        truth = out.with_name(f"{stem}.truth.json")
    try:
        for path in (out, truth, probabilities):
            if path is not None and path != STDOUT and path.exists():
                raise OutputError(f"{path} exists: remove it, or choose another name")
        count = parse_rows(rows)
        began = time.perf_counter()
        with Progress("synthesize", count, quiet=quiet) as bar:
            figures = write_synthetic(
                out,
                count,
                seed,
                start=start,
                layout=layout,
                labelled=not unlabelled,
                probabilities=probabilities,
                truth=truth,
                progress=bar.advance,
            )
    except CriteoStreamError as error:
        say(f"error: {error}")
        raise typer.Exit(error.exit_code) from None
    seconds = time.perf_counter() - began
    say(
        f"{count:,} rows in {seconds:.1f} s ({count / seconds:,.0f} rows/s): "
        f"click rate {figures['click_rate']}, best AUC {figures['auc']}, "
        f"best log loss {figures['log_loss']}"
    )


def _write_days(
    out: Path,
    days: int,
    rows: str,
    seed: int,
    drift: float,
    compression: str,
    truth: Path | None,
    *,
    odd: bool,
    quiet: bool,
) -> None:
    truth = truth or out.with_name(f"{out.name}.truth.json")
    try:
        if odd:
            raise UsageError("--days goes without --unlabelled, --probabilities and --start")
        if compression not in _SUFFIXES:
            raise UsageError(
                f"--compression {compression} is not known: use {', '.join(_SUFFIXES)}"
            )
        if out.is_dir() and any(out.iterdir()):
            raise OutputError(f"{out} is not empty: choose another folder")
        count = parse_rows(rows)
        with Progress("synthesize", max(days, 0) * count, quiet=quiet) as bar:
            figures = write_days(
                out,
                days,
                count,
                seed,
                drift=drift,
                suffix=_SUFFIXES[compression],
                truth=truth,
                progress=bar.advance,
            )
    except CriteoStreamError as error:
        say(f"error: {error}")
        raise typer.Exit(error.exit_code) from None
    made: Any = figures["days"]
    for number, day in enumerate(made):
        say(
            f"day {number}: click rate {day['click_rate']:.4f}, best AUC {day['auc']:.5f}, "
            f"best log loss {day['log_loss']:.5f}"
        )


if __name__ == "__main__":
    typer.run(synthesize)
