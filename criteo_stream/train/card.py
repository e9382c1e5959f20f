"""The model card of a run, ``RUN/README.md``, in the form that the Hugging Face Hub reads.

It tells nothing that two equal runs differ in: no dates, speeds or places of this machine.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path

from criteo_stream import __version__
from criteo_stream.base.schema import SPLITS
from criteo_stream.base.storage import write_bytes
from criteo_stream.base.terminal import visible
from criteo_stream.data.manifest import Manifest
from criteo_stream.runs.config import ResolvedConfig, flag
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.history import HistoryLine
from criteo_stream.train.result import TrainResult


def write_card(
    folder: RunFolder, config: ResolvedConfig, data: Path, manifest: Manifest, result: TrainResult
) -> None:
    """Write the card of a finished run, atomically.

    Raises:
        OutputError: the disk is full.
    """
    name = visible(folder.path.resolve().name)
    parts = [
        _front_matter(name, config, data, result.best),
        f"# {_text(name)}",
        f"A click-through-rate model (`{_code(config.model)}`) trained by criteo-stream "
        f"{__version__} on {manifest.rows['train']:,} rows of Criteo-style click logs "
        "(13 integer and 26 categorical columns). It gives the probability of a click.",
        "## Results",
        *_results(result, manifest),
        "## Data",
        *_data(data, manifest),
        "## Use",
        *_use(name),
        "## Options",
        "The options that decide the weights, with what was chosen for this data set:",
        _table(("option", "value"), [(flag(n), f"{v}") for n, v in config.to_dict().items()]),
        "## Limitations",
        *_limitations(manifest),
    ]
    write_bytes(folder.card, ("\n\n".join(parts) + "\n").encode())


def _front_matter(name: str, config: ResolvedConfig, data: Path, best: HistoryLine | None) -> str:
    """YAML, its texts as JSON writes them."""
    lines = [
        "---",
        "# license: yours to choose; the terms of the data may limit the choice",
        "library_name: criteo-stream",
        "tags:",
        "- click-through-rate",
        "- recommendation",
        "- tabular-classification",
        f"- {_yaml(config.model)}",
        "metrics:",
        "- roc_auc",
        "- log_loss",
    ]
    figures = _best_figures(best)
    if figures:
        lines += [
            "model-index:",
            f"- name: {_yaml(name)}",
            "  results:",
            "  - task:",
            "      type: tabular-classification",
            "      name: click prediction",
            "    dataset:",
            "      type: criteo-click-logs",
            f"      name: {_yaml(visible(data.resolve().name))}",
            "      split: valid",
            "    metrics:",
        ]
        for kind, title, value in figures:
            lines += [f"    - type: {kind}", f"      name: {title}", f"      value: {value:.6f}"]
    return "\n".join([*lines, "---"])


def _best_figures(best: HistoryLine | None) -> list[tuple[str, str, float]]:
    """Type, name and value of the best figures, on the whole valid split where it was measured."""
    if best is None:
        return []
    whole = best.whole_log_loss is not None
    found = (
        ("roc_auc", "AUC", best.whole_auc if whole else best.auc),
        ("log_loss", "log loss", best.whole_log_loss if whole else best.log_loss),
    )
    return [(kind, title, value) for kind, title, value in found if value is not None]


def _results(result: TrainResult, manifest: Manifest) -> Iterable[str]:
    best = result.best
    figures = _best_figures(best)
    if best is None or not figures:
        yield "The data set has no valid split to measure them on."
        return
    baseline = _log_loss_of_the_rate(best, manifest)
    rows = [(title, f"{value:.6f}") for _, title, value in figures]
    table = [
        (title, value, "0.5" if title == "AUC" else "–" if baseline is None else f"{baseline:.6f}")
        for title, value in rows
    ]
    yield _table(("valid split", "this model", "predicting the click rate"), table)
    share = "the whole valid split" if best.whole_log_loss is not None else "a part of it"
    more = [
        f"normalized entropy {best.ne:.6f}" if best.ne is not None else "",
        f"calibration {best.calibration:.4f}" if best.calibration is not None else "",
    ]
    others = ", ".join(text for text in more if text)
    yield (
        f"The weights are those of step {best.step:,} of {result.steps:,}, the best of "
        f"{len(result.history)} evaluations, measured on {share}."
        + (f" On the {best.valid_rows:,} rows of every evaluation: {others}." if others else "")
    )
    for warning in result.warnings:
        yield f"**Warning:** {_text(warning)}."
    yield "`history.jsonl` and `plots/` have all evaluations."


def _log_loss_of_the_rate(best: HistoryLine, manifest: Manifest) -> float | None:
    """On the rows that the best figures are of."""
    if best.whole_log_loss is None:
        return best.log_loss / best.ne if best.log_loss and best.ne else None
    rate = _click_rate(manifest, "valid")
    return -sum(p * math.log(p) for p in (rate, 1 - rate) if p)


def _data(data: Path, manifest: Manifest) -> Iterable[str]:
    splits = [
        (split, f"{manifest.rows[split]:,}", f"{_click_rate(manifest, split):.4f}")
        for split in SPLITS
        if manifest.rows[split]
    ]
    yield _table(("split", "rows", "click rate"), splits)
    facts = [
        f"data set `{_code(visible(data.resolve().name))}`, fingerprint `{manifest.fingerprint}`, "
        f"of its fit `{manifest.fit_fingerprint}`",
        f"layout {manifest.layout}, {len(manifest.inputs)} input file(s)",
        f"values seen fewer than {manifest.min_count} times in training share one id; "
        f"{sum(manifest.categories):,} ids in all",
    ]
    if manifest.thinned:
        facts.append(
            f"{manifest.thinned:,} negative rows were left out of training; probabilities are "
            "those of all rows"
        )
    yield "\n".join(f"- {fact}" for fact in facts)


def _click_rate(manifest: Manifest, split: str) -> float:
    shards = manifest.shards[split]
    return sum(shard.positives for shard in shards) / sum(shard.rows for shard in shards)


def _use(name: str) -> Iterable[str]:
    yield "Raw lines in, probabilities out; vocabularies and quantiles are those of the data set:"
    yield (
        "```python\nimport criteo_stream\n\n"
        f"criteo_stream.load({json.dumps(name, ensure_ascii=False)}).predict_proba(rows)\n```"
    )
    yield "```sh\ncriteo-stream predict RUN new-rows.tsv --out predictions.parquet\n```"


def _limitations(manifest: Manifest) -> Iterable[str]:
    yield "\n".join(
        [
            "- Clicks drift: figures are of rows like those of the valid split, and get worse on "
            "later days.",
            "- Values that are rare or unseen in training are all treated alike, as one unknown "
            "value.",
            "- Best weights were chosen by the valid split: the test split gives the unbiased "
            "figures, `criteo-stream evaluate RUN --split test`.",
            "- The columns are anonymous: nothing is known about fairness towards people, and "
            "the model is not meant for decisions about them.",
        ]
    )


def _table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join("| " + " | ".join(map(_text, line)) + " |" for line in lines)


def _text(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in visible(text))


def _code(text: str) -> str:
    return text.replace("`", "'")


def _yaml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
