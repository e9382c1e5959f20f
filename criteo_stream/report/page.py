"""The page of a report: facts and pictures to HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from criteo_stream import __version__
from criteo_stream.base.amounts import format_size
from criteo_stream.base.terminal import visible
from criteo_stream.metrics.figures import FIGURES
from criteo_stream.report.charts import (
    Chart,
    quantile_charts,
    resource_charts,
    score_charts,
    training_charts,
)
from criteo_stream.report.facts import DataFacts, RunFacts
from criteo_stream.report.svg import SERIES
from criteo_stream.runs.config import flag


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A line of the table of runs."""

    name: str
    cells: list[str]
    differs: bool = False
    """An option in which the runs differ."""


@dataclass(frozen=True, kw_only=True)
class _DataSection:
    """A data set, the runs on it, and the pictures of its columns."""

    facts: DataFacts
    runs: list[RunFacts]
    importance: list[list[tuple[float, float | None, float | None]]]
    """Per run and field: shuffled, linear and interaction."""
    charts: list[Chart]


def render(runs: Sequence[RunFacts], split: str) -> str:
    """The whole page; the same facts give the same text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_shown
    )
    environment.filters |= {
        "figure": _figure,
        "interval": _interval,
        "share": _share,
        "number": _number,
    }
    options = _options(runs)
    template = environment.from_string(
        files("criteo_stream.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    return template.render(
        version=__version__,
        split=split,
        runs=runs,
        series=SERIES,
        figures=FIGURES,
        summary=[*_summary(runs), *(row for row in options if row.differs)],
        options=options,
        training=training_charts(runs),
        scores=score_charts(runs, split),
        data_sections=_data_sections(runs),
        resources=resource_charts(runs),
    )


def _summary(runs: Sequence[RunFacts]) -> list[_Row]:
    def row(name: str, values: Iterable[Any]) -> _Row:
        return _Row(name=name, cells=[str(value) for value in values])

    last = [run.history[-1] if run.history else None for run in runs]
    return [
        row("folder", (run.path for run in runs)),
        row("data set", (run.data.path for run in runs)),
        row("fingerprint", (run.data.fingerprint for run in runs)),
        row("training rows", (f"{run.data.rows['train']:,}" for run in runs)),
        row("parameters", (f"{run.parameters:,}" for run in runs)),
        row("training rows seen", (_number(line.rows if line else None) for line in last)),
        row("steps", (_number(line.step if line else None) for line in last)),
        row("best weights at step", (f"{run.step:,}" for run in runs)),
        row("rows per second", (_number(_speed(run)) for run in runs)),
        row("peak memory", (_peak(run) for run in runs)),
        row("package version", (run.record.package_version for run in runs)),
    ]


def _options(runs: Sequence[RunFacts]) -> list[_Row]:
    """The options of every run."""
    values = [run.record.config.to_dict() | {"from": run.record.from_run or "–"} for run in runs]
    return [
        _Row(
            name=flag(name),
            cells=[str(options[name]) for options in values],
            differs=len({str(options[name]) for options in values}) > 1,
        )
        for name in values[0]
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


def _data_sections(runs: Sequence[RunFacts]) -> list[_DataSection]:
    sets = {run.data.fingerprint: run.data for run in runs}
    sections = []
    for number, (fingerprint, facts) in enumerate(sets.items()):
        own = [run for run in runs if run.data.fingerprint == fingerprint]
        sections.append(
            _DataSection(
                facts=facts,
                runs=own,
                importance=[_importance_rows(run) for run in own],
                charts=quantile_charts(facts.integers, number),
            )
        )
    return sections


def _importance_rows(run: RunFacts) -> list[tuple[float, float | None, float | None]]:
    found = run.importance
    shuffled = found.shuffled.tolist()
    nothing = [None] * len(shuffled)
    linear = nothing if found.linear is None else found.linear.tolist()
    interaction = nothing if found.interaction is None else found.interaction.tolist()
    return list(zip(shuffled, linear, interaction, strict=True))


def _shown(value: Any) -> Any:
    """Text of others with its direction marks and controls visible; the template escapes it."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _figure(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else format(value, form)


def _interval(ends: Sequence[float] | None, form: str = ".4f") -> str:
    return "–" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.2f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"
