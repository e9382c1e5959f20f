"""The page of a report: facts, words and pictures to HTML."""

import base64
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from criteo_stream.base.terminal import visible
from criteo_stream.metrics.figures import FIGURES
from criteo_stream.report.charts import (
    importance_chart,
    quantile_charts,
    resource_charts,
    training_charts,
)
from criteo_stream.report.facts import DataFacts, RunFacts
from criteo_stream.report.figures import SERIES, Chart
from criteo_stream.report.score_charts import score_charts
from criteo_stream.report.tables import about, number, options, summary, versions
from criteo_stream.report.verdict import verdict

_POLICY: Final = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""No request at all, and no script but two: the page's and plotly.js, by their hashes."""


@dataclass(frozen=True, kw_only=True)
class _DataSection:
    """A data set, the runs on it, and the pictures of its columns."""

    facts: DataFacts
    runs: list[RunFacts]
    importance: list[list[tuple[float, ...]]]
    """Per run and field: shuffled, and for an FM linear and interaction."""
    importance_chart: Chart
    charts: list[Chart]


def render(runs: Sequence[RunFacts], split: str) -> str:
    """The whole page; the same facts give the same text."""
    # Loaded for a report only.
    from plotly.offline import get_plotlyjs

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_shown
    )
    environment.filters |= {
        "figure": _figure,
        "interval": _interval,
        "share": _share,
        "number": number,
        "unbroken": _unbroken,
    }
    told = options(runs)
    training, scores = training_charts(runs), score_charts(runs, split)
    resources, sections = resource_charts(runs), _data_sections(runs)
    charts = [*training, *scores, *resources]
    for section in sections:
        charts += [section.importance_chart, *section.charts]
    plotly, script = get_plotlyjs(), _file("page.js")
    return environment.from_string(_file("page.html")).render(
        policy=Markup(_POLICY.format(scripts=f"{_hash(plotly)} {_hash(script)}")),
        style=Markup(_file("page.css")),
        script=Markup(script),
        library=base64.b64encode(gzip.compress(plotly.encode(), mtime=0)).decode(),
        plots={f"chart-{chart.key}": chart.figure for chart in charts},
        versions=versions(),
        split=split,
        runs=runs,
        series=SERIES,
        figures=FIGURES,
        verdict=verdict(runs, split),
        about=about(runs, split),
        summary=[*summary(runs), *(row for row in told if row.differs)],
        options=told,
        training=training,
        scores=scores,
        data_sections=sections,
        resources=resources,
    )


def _file(name: str) -> str:
    return files("criteo_stream.report").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What a content-security policy calls a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _data_sections(runs: Sequence[RunFacts]) -> list[_DataSection]:
    sets = {run.data.fingerprint: run.data for run in runs}
    sections = []
    for place, (fingerprint, facts) in enumerate(sets.items()):
        numbered = [(n, r) for n, r in enumerate(runs) if r.data.fingerprint == fingerprint]
        own = [run for _, run in numbered]
        sections.append(
            _DataSection(
                facts=facts,
                runs=own,
                importance=[_importance_rows(run) for run in own],
                importance_chart=importance_chart(numbered, place),
                charts=quantile_charts(facts.integers, place),
            )
        )
    return sections


def _importance_rows(run: RunFacts) -> list[tuple[float, ...]]:
    found = run.importance
    parts = [part for part in (found.shuffled, found.linear, found.interaction) if part is not None]
    return list(zip(*(part.tolist() for part in parts), strict=True))


def _shown(value: Any) -> Any:
    """Text of others with its direction marks and controls visible; the template escapes it."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _unbroken(text: str) -> Markup:
    """A sentence whose figures stay on one line with their intervals."""
    return Markup(escape(visible(text)).replace(" ± ", "\xa0±\xa0"))


def _figure(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else format(value, form)


def _interval(ends: Sequence[float] | None, form: str = ".4f") -> str:
    return "–" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"


def _share(value: float) -> str:
    return f"{value:.1%}"
