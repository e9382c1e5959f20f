"""``criteo-stream demo``: the whole path on synthetic data, from raw lines to a plot."""

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from criteo_stream.base.amounts import format_size, parse_rows
from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.options import declared
from criteo_stream.base.own_process import in_own_process
from criteo_stream.base.progress import Progress
from criteo_stream.base.storage import make_folder
from criteo_stream.cli.app import command, show
from criteo_stream.cli.parameters import Json, Quiet
from criteo_stream.runs.config import TrainConfig

_MARK = ".criteo-stream-demo"
_LEAST_ROWS = 1000
"""Of fewer, a split may have labels of one kind only."""
_NAMES = {_MARK, "synthetic.tsv", "data", "run", "predictions.parquet", "auc.png"}


@command
def demo(
    out: Annotated[Path, typer.Option(help="Write everything into this folder.")] = Path(
        "demo-output"
    ),
    rows: Annotated[
        str, typer.Option(metavar="ROWS", help="Synthesise this many rows, like 500k or 2M.")
    ] = "500k",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed the data and the training.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier demo in the folder.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Synthesise logs, prepare, train, evaluate and predict; ends with figures and a plot."""
    count = parse_rows(rows)
    if count < _LEAST_ROWS:
        raise UsageError(f"--rows is {count}, expected at least {_LEAST_ROWS:,}")
    seed = declared(TrainConfig)["seed"].checked(seed)
    figures, lines = run_demo(out, count, seed=seed, force=force, quiet=quiet)
    show(figures, *lines, as_json=as_json)


def run_demo(
    out: Path, rows: int, *, seed: int = 0, force: bool = False, quiet: bool = False
) -> tuple[dict[str, object], list[str]]:
    """Run all stages in one folder; the figures, and lines for a person.

    Raises:
        OutputError: the folder holds something that is not an earlier demo.
    """
    from criteo_stream.runs.curves import plot
    from criteo_stream.train.trainer import Trainer

    _claim(out, force=force)
    raw, data, run = out / "synthetic.tsv", out / "data", out / "run"
    rates: dict[str, float] = {}

    # Each in a process of its own: what it leaves in memory is no memory of training.
    truth, rates["synthesise"] = in_own_process(_synthesise, str(raw), rows, seed, quiet)
    preparing_bytes, rates["preprocess"] = in_own_process(
        _prepare, str(raw), str(data), rows, quiet
    )
    trainer = Trainer(data, run, TrainConfig(seed=seed), quiet=quiet)
    trained = trainer.fit()
    rates["train"] = trained.rows_per_second

    start = time.perf_counter()
    found = trainer.evaluate("test")
    rates["evaluate"] = found.rows / (time.perf_counter() - start)

    predicted = trainer.predict(raw, out / "predictions.parquet")
    rates["predict"] = predicted.rows_per_second

    best_auc, best_loss = (float(str(truth[name])) for name in ("auc", "log_loss"))
    picture = out / "auc.png"
    plot(trained.history, "auc", picture, lines={"best possible": best_auc})
    result = {
        "rows": rows,
        "test": found.to_dict(),
        "best_possible": {key: truth[key] for key in ("auc", "log_loss")},
        "rows_per_second": {stage: round(rate) for stage, rate in rates.items()},
        "peak_memory_bytes": {
            "preprocess": preparing_bytes,
            "train": trained.peak_memory_bytes,
        },
        "plot": str(picture),
    }
    lines = [
        f"test AUC {found.auc:.4f} (best possible {best_auc:.4f}), log loss "
        f"{found.log_loss:.4f} (best possible {best_loss:.4f}), "
        f"calibration {found.calibration:.3f}",
        "rows/s: " + ", ".join(f"{stage} {rate:,.0f}" for stage, rate in rates.items()),
        f"peak memory: preprocess {format_size(preparing_bytes)}, "
        f"train {format_size(trained.peak_memory_bytes)}",
        f"plot: {picture}",
    ]
    return result, lines


def _synthesise(
    raw: str, rows: int, seed: int, quiet: bool
) -> tuple[dict[str, str | int | float | None], float]:
    """Write the raw log; the best that is possible on it, and rows a second."""
    from criteo_stream.synthetic import write_synthetic

    start = time.perf_counter()
    with Progress("synthesise", rows, quiet=quiet) as bar:
        truth = write_synthetic(Path(raw), rows, seed, progress=bar.advance)
    return truth, rows / (time.perf_counter() - start)


def _prepare(raw: str, data: str, rows: int, quiet: bool) -> tuple[int, float]:
    """Prepare it; the peak of memory in bytes, and rows a second."""
    from criteo_stream.prepare.pipeline import preprocess

    prepared = preprocess(raw, data, quiet=quiet)
    return prepared.peak_memory_bytes, rows / prepared.seconds


def _claim(out: Path, *, force: bool) -> None:
    """Make the demo's folder; only what a demo made is ever removed."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} exists and is not a folder: choose another --out")
    found = sorted(out.iterdir()) if out.exists() else []
    if found and not (out / _MARK).is_file():
        raise OutputError(f"{out} is not empty and not from a demo: choose another --out")
    for path in found:
        if path.name not in _NAMES or path.is_symlink():
            raise OutputError(
                f"{path} is not of the demo that {out} holds: move it away, or choose another --out"
            )
    if found and not force:
        raise OutputError(f"{out} holds an earlier demo: replace it with --force")
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _MARK:
            path.unlink()
    make_folder(out)
    (out / _MARK).touch()
