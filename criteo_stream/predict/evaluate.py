"""A run's best weights on a split, alone or against another run's; ranks share the rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from criteo_stream.base.errors import DataSetError, UsageError
from criteo_stream.base.ranks import Ranks, process_group
from criteo_stream.base.schema import ALL_ROWS, EVALUATED, SPLITS
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.order import LANES
from criteo_stream.metrics.compare import compare
from criteo_stream.metrics.figures import DetailedEvaluation, Difference
from criteo_stream.metrics.measure import EVALUATION_BATCH, measure
from criteo_stream.metrics.plots import plot_scores
from criteo_stream.metrics.scores import ScoreCounts
from criteo_stream.predict.restore import LoadedRun, load_run
from criteo_stream.runs.folder import RunFolder


class OpenedSplit(NamedTuple):
    """A run and a split, open for evaluation on one rank."""

    ranks: Ranks
    loaded: LoadedRun
    datasets: list[CriteoDataset]
    """That split, or all that have rows."""


@contextmanager
def opened_split(
    run: Path | str,
    split: str,
    data: Path | str | None = None,
    *,
    device: str = "auto",
    trust_model: bool | str = False,
) -> Iterator[OpenedSplit]:
    """Load a run's best weights and open a split; under torchrun join the other ranks.

    Raises:
        UsageError: there is no such split or device.
        RunError: the folder is not a run, or has no sound best checkpoint.
        DataSetError: the data set is missing, incomplete, of another fit, or the split is empty.
    """
    if split not in EVALUATED:
        raise UsageError(f"--split {split} is not known: use {', '.join(EVALUATED)}")
    with process_group(device=device) as ranks:
        with ranks.all_or_none():
            loaded = load_run(run, data, trust_model=trust_model)
            splits = [s for s in SPLITS if split in (s, ALL_ROWS) and loaded.manifest.rows[s]]
            if not splits:
                raise DataSetError(
                    f"the {split} split of {loaded.data} is empty: choose another --split"
                )
        loaded.model.to(ranks.device)
        datasets = [
            CriteoDataset(
                loaded.data,
                one,
                EVALUATION_BATCH,
                lanes=max(LANES, ranks.world_size),
                rank=ranks.rank,
                world_size=ranks.world_size,
                shuffle=False,
            )
            for one in splits
        ]
        yield OpenedSplit(ranks, loaded, datasets)


def evaluate_run(
    run: Path | str,
    split: str = "test",
    *,
    data: Path | str | None = None,
    device: str = "auto",
    workers: int = 1,
    plots: bool = False,
    trust_model: bool | str = False,
    quiet: bool = False,
) -> DetailedEvaluation:
    """Evaluate a run's best weights; under torchrun the ranks share the rows.

    Args:
        run: folder of the run.
        split: train, valid or test, or all rows.
        data: a data set with the same fit or one of its lineage, such as a newer day's; default the
            one that the run was trained on.
        device: what computes, a `DeviceName`.
        workers: loader threads per rank.
        plots: draw calibration and ROC curve into ``RUN/plots``.
        trust_model: whether a recorded model by import path may be imported, see `load_run`.
        quiet: show no progress.

    Returns:
        The figures, the same on every rank.

    Raises:
        CriteoStreamError: as `opened_split`.
    """
    with opened_split(run, split, data, device=device, trust_model=trust_model) as (
        ranks,
        loaded,
        datasets,
    ):
        metrics = measure(loaded.model, *datasets, ranks=ranks, workers=workers, quiet=quiet)
        scores = metrics.scores()
        if plots and ranks.is_writer:
            _draw(scores, split, run)
        return metrics.compute_detailed(scores)


class ComparedRuns(NamedTuple):
    """Two runs on the same rows."""

    evaluation: DetailedEvaluation
    """The first run's figures."""
    against: str
    """Folder of the second run."""
    other: DetailedEvaluation
    """The second run's figures."""
    difference: Difference
    """The first run less the second."""

    def to_dict(self) -> dict[str, object]:
        """Plain values by name, as ``--json`` prints them."""
        return self.evaluation.to_dict() | {
            "against": {"run": self.against, **self.other.to_dict()},
            "difference": self.difference.to_dict(),
        }


def compare_runs(
    run: Path | str,
    against: Path | str,
    split: str = "test",
    *,
    data: Path | str | None = None,
    device: str = "auto",
    workers: int = 1,
    plots: bool = False,
    trust_model: bool | str = False,
    quiet: bool = False,
) -> ComparedRuns:
    """Evaluate two runs' best weights on the same rows; under torchrun the ranks share them.

    Raises:
        CriteoStreamError: as `opened_split`; the second run's fit must be the first's.
    """
    with opened_split(run, split, data, device=device, trust_model=trust_model) as (
        ranks,
        loaded,
        datasets,
    ):
        with ranks.all_or_none():
            second = load_run(against, loaded.data, trust_model=trust_model)
        other = second.model.to(ranks.device)
        metrics, difference = compare(
            [loaded.model, other], *datasets, ranks=ranks, workers=workers, quiet=quiet
        )
        scores = [model_metrics.scores() for model_metrics in metrics]
        if plots and ranks.is_writer:
            _draw(scores[0], split, run)
        found, theirs = (m.compute_detailed(s) for m, s in zip(metrics, scores, strict=True))
        return ComparedRuns(found, str(against), theirs, difference)


def _draw(scores: ScoreCounts, split: str, run: Path | str) -> None:
    folder = RunFolder(run)
    folder.refuse_links()
    plot_scores(scores, split, folder.plots)
