"""Everything that a report tells, gathered from run folders and their data sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import SPLITS
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.metrics.compare import compare
from criteo_stream.metrics.figures import DetailedEvaluation, Difference
from criteo_stream.metrics.measure import measure
from criteo_stream.metrics.scores import ScoreCounts
from criteo_stream.metrics.streaming import BinaryMetrics
from criteo_stream.predict.evaluate import OpenedSplit, opened_split
from criteo_stream.predict.restore import load_run
from criteo_stream.report.columns import CategoryFacts, IntegerFacts, column_facts
from criteo_stream.report.importance import Importance, importance
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.config_file import RunRecord
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.history import HistoryLine
from criteo_stream.runs.state import TrainState

SAMPLE_ROWS: Final = 16384
"""Rows that the importance of fields is measured on, spread over the split."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """A data set, and the split of it that the report looks at."""

    path: str
    fingerprint: str
    layout: str
    rows: dict[str, int]
    positives: dict[str, int]
    integers: list[IntegerFacts]
    categories: list[CategoryFacts]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run and what its best weights are worth."""

    name: str
    path: str
    record: RunRecord
    history: list[HistoryLine]
    step: int
    """Step of the best weights."""
    steps_done: int
    """Steps of the last checkpoint."""
    total_steps: int
    """Steps of the whole plan."""
    evaluated_at: datetime | None
    """When the last line of the history was written, by its file, in UTC."""
    parameters: int
    evaluation: DetailedEvaluation
    scores: ScoreCounts
    importance: Importance
    data: DataFacts
    difference: Difference | None
    """This run less the first; None for the first and on other data."""


def gather(
    runs: Sequence[Path],
    split: str,
    *,
    data: Path | None = None,
    trust_model: bool | str = False,
    quiet: bool = False,
) -> list[RunFacts]:
    """Evaluate every run's best weights on a split, and read what else is known of it.

    Raises:
        CriteoStreamError: as `opened_split`, of the first run that it holds for.
    """
    if split not in SPLITS:
        raise UsageError(f"--split {split} is not known: use {', '.join(SPLITS)}")
    for run in runs:  # before the first is evaluated, which may take long
        RunFolder(run).read()
    found: list[RunFacts] = []
    for run, name in zip(runs, _names(runs), strict=True):
        with opened_split(run, split, data, trust_model=trust_model) as opened:
            found.append(_run_facts(run, name, opened, found, quiet=quiet))
    return found


def _names(runs: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where two have the same."""
    short = [run.resolve().name for run in runs]
    return short if len(set(short)) == len(runs) else [str(run) for run in runs]


def _run_facts(
    run: Path, name: str, opened: OpenedSplit, before: Sequence[RunFacts], *, quiet: bool
) -> RunFacts:
    loaded, folder = opened.loaded, RunFolder(run)
    fingerprint = loaded.manifest.fingerprint
    metrics, difference = _measured(opened, before, quiet=quiet)
    scores = metrics.scores()
    steps_done, total_steps = _steps(folder)
    seen = (facts.data for facts in before if facts.data.fingerprint == fingerprint)
    return RunFacts(
        name=name,
        path=str(run),
        record=folder.read(),
        history=folder.history.read(),
        step=loaded.step,
        steps_done=steps_done,
        total_steps=total_steps,
        evaluated_at=_written_at(folder.history.path),
        parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        evaluation=metrics.compute_detailed(scores),
        scores=scores,
        importance=_importance(opened),
        data=next(seen, None) or _data_facts(opened),
        difference=difference,
    )


def _steps(folder: RunFolder) -> tuple[int, int]:
    """Steps done and planned, as the last checkpoint has them."""
    latest = CheckpointFolder(folder.checkpoints).describe_latest()
    if latest is None:
        return 0, 0
    state = TrainState.of(latest[0], folder.checkpoints)
    return state.step, state.total_steps


def _written_at(path: Path) -> datetime | None:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC) if path.exists() else None


def _measured(
    opened: OpenedSplit, before: Sequence[RunFacts], *, quiet: bool
) -> tuple[BinaryMetrics, Difference | None]:
    """The run's metrics, and its difference from the first run where both know the same rows."""
    ranks, loaded, datasets = opened
    if not before or before[0].data.fingerprint != loaded.manifest.fingerprint:
        return measure(loaded.model, *datasets, ranks=ranks, quiet=quiet), None
    # That run's model was imported before.
    trusted = before[0].record.config.model
    first = load_run(before[0].path, loaded.data, trust_model=trusted).model.to(ranks.device)
    metrics, difference = compare([loaded.model, first], *datasets, ranks=ranks, quiet=quiet)
    return metrics[0], difference


def _importance(opened: OpenedSplit) -> Importance:
    loaded, device = opened.loaded, opened.ranks.device
    # A batch has rows of every lane: the first is a sample of the whole split.
    sample = CriteoDataset(loaded.data, opened.datasets[0].split, SAMPLE_ROWS, shuffle=False)
    (numeric, categorical), _ = next(iter(sample))
    loaded.model.eval()
    return importance(loaded.model, numeric.to(device), categorical.to(device))


def _data_facts(opened: OpenedSplit) -> DataFacts:
    data, manifest = opened.loaded.data, opened.loaded.manifest
    integers, categories = column_facts(data, manifest, opened.datasets[0])
    return DataFacts(
        path=str(data),
        fingerprint=manifest.fingerprint,
        layout=manifest.layout,
        rows=manifest.rows,
        positives={
            split: sum(shard.positives for shard in shards)
            for split, shards in manifest.shards.items()
        },
        integers=integers,
        categories=categories,
    )
