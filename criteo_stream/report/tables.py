"""What was trained, on what and with which versions, as lines and tables of text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from criteo_stream import __version__
from criteo_stream.base.amounts import format_size
from criteo_stream.report.facts import RunFacts
from criteo_stream.runs.config import flag


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table of runs."""

    name: str
    cells: list[str]
    differs: bool = False
    """An option in which the runs differ."""


def about(runs: Sequence[RunFacts], split: str) -> list[tuple[str, list[str]]]:
    """Model, date, data set, versions, and what the runs differ in: names and lines."""
    sets = {run.data.fingerprint: run.data for run in runs}
    several = len(runs) > 1
    return [
        ("Models" if several else "Model", _by_run(runs, _model)),
        ("Trained", _by_run(runs, _date)),
        (
            "Data sets" if len(sets) > 1 else "Data set",
            [
                f"{Path(data.path).name or data.path}, {data.rows['train']:,} training rows, "
                f"{data.rows[split]:,} rows in the {split} split, fingerprint {data.fingerprint}"
                for data in sets.values()
            ],
        ),
        ("Versions", [versions(), *_other_versions(runs)]),
        *(
            (f"Option {row.name}", [", ".join(row.cells)])
            for row in options(runs)
            if row.differs
        ),
    ]  # fmt: skip


def versions() -> str:
    """Of what evaluated the runs."""
    others = (f"{name} {version(name)}" for name in ("torch", "polars"))
    return ", ".join([f"criteo-stream {__version__}", *others])


def summary(runs: Sequence[RunFacts]) -> list[Row]:
    """Where the runs are, on what, and how far they went."""

    def row(name: str, values: Iterable[Any]) -> Row:
        return Row(name=name, cells=[str(value) for value in values])

    last = [run.history[-1] if run.history else None for run in runs]
    return [
        row("folder", (run.path for run in runs)),
        row("last evaluation", map(_date, runs)),
        row("data set", (run.data.path for run in runs)),
        row("fingerprint", (run.data.fingerprint for run in runs)),
        row("training rows", (f"{run.data.rows['train']:,}" for run in runs)),
        row("parameters", (f"{run.parameters:,}" for run in runs)),
        row("training rows seen", (number(line.rows if line else None) for line in last)),
        row("steps", (f"{run.steps_done:,} of {run.total_steps:,}" for run in runs)),
        row("best weights at step", (f"{run.step:,}" for run in runs)),
        row("rows per second", (number(_speed(run)) for run in runs)),
        row("peak memory", (_peak(run) for run in runs)),
        row("package version", (run.record.package_version for run in runs)),
    ]


def options(runs: Sequence[RunFacts]) -> list[Row]:
    """The options of every run."""
    values = [run.record.config.to_dict() | {"from": run.record.from_run or "–"} for run in runs]
    return [
        Row(
            name=flag(name),
            cells=[str(given[name]) for given in values],
            differs=len({str(given[name]) for given in values}) > 1,
        )
        for name in values[0]
    ]


def number(value: float | None) -> str:
    """A count in full, and a small figure to two places."""
    if value is None:
        return "–"
    return f"{value:,.2f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


def _by_run(runs: Sequence[RunFacts], tell: Any) -> list[str]:
    """A line for each run, with its name where there are several."""
    return [f"{run.name}: {tell(run)}" if len(runs) > 1 else tell(run) for run in runs]


def _model(run: RunFacts) -> str:
    model = run.record.config.to_dict()["model"]
    return (
        f"{model}, {run.parameters:,} parameters, best at step {run.step:,} of {run.total_steps:,}"
    )


def _date(run: RunFacts) -> str:
    return f"{run.evaluated_at:%Y-%m-%d %H:%M} UTC" if run.evaluated_at else "–"


def _other_versions(runs: Sequence[RunFacts]) -> list[str]:
    """Of what trained the runs, where it was another."""
    others = [run for run in runs if run.record.package_version != __version__]
    return [
        f"{run.name} was trained with criteo-stream {run.record.package_version}" for run in others
    ]


def _speed(run: RunFacts) -> float | None:
    """Training rows per second over the whole run."""
    rows = [0, *(line.rows for line in run.history)]
    parts = [(rows[i + 1] - rows[i], line.rows_per_second) for i, line in enumerate(run.history)]
    seconds = sum(part / rate for part, rate in parts if rate)
    return sum(part for part, _ in parts) / seconds if seconds else None


def _peak(run: RunFacts) -> str:
    peaks = [line.peak_memory_bytes for line in run.history]
    return format_size(max(peaks)) if peaks else "–"
