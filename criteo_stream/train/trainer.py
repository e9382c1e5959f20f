"""Training: from a data set and a configuration to a run folder.

A run is a pure function of its configuration, its data set, the number of ranks and threads. It
can be stopped at any moment: the same command continues from the last checkpoint to the same
weights, bit for bit.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.memory import PeakMemory
from criteo_stream.base.ranks import process_group
from criteo_stream.data.manifest import Manifest
from criteo_stream.models import check_model
from criteo_stream.predict.evaluate import evaluate_run
from criteo_stream.predict.scorer import predict_run
from criteo_stream.runs.config import ResolvedConfig, SessionOptions, TrainConfig
from criteo_stream.runs.folder import RunFolder
from criteo_stream.train.result import TrainResult
from criteo_stream.train.session import Session

if TYPE_CHECKING:
    import polars as pl


class Trainer:
    """Trains a model on a prepared data set into a run folder.

    Args:
        data: folder of the data set.
        run: folder of the run; an interrupted run of the same options is continued.
        config: the options that decide the weights.
        workers: loader threads a rank; 0 loads inline.
        checkpoint_every: training rows between checkpoints; evaluations always end in one.
        checkpoint_minutes: minutes between checkpoints; 0 goes by rows and evaluations only.
        keep: latest checkpoints kept, beside the best.
        threads: compute threads a rank; default the cores shared out among the ranks.
        from_run: start from the best weights of this run.
        tensorboard: write the history as TensorBoard's event files too, into ``RUN/tensorboard``.
        quiet: show no progress.
    """

    def __init__(
        self,
        data: Path | str,
        run: Path | str,
        config: TrainConfig | None = None,
        *,
        workers: int = 1,
        checkpoint_every: int = 0,
        checkpoint_minutes: float = 10.0,
        keep: int = 2,
        threads: int | None = None,
        from_run: Path | str | None = None,
        tensorboard: bool = False,
        quiet: bool = False,
    ) -> None:
        self.data = Path(data)
        self.folder = RunFolder(run)
        self.config = config or TrainConfig()
        self._options = SessionOptions(
            workers=workers,
            checkpoint_every=checkpoint_every,
            checkpoint_minutes=checkpoint_minutes,
            keep=keep,
            threads=threads,
            from_run=Path(from_run) if from_run is not None else None,
            tensorboard=tensorboard,
            quiet=quiet,
        )

    def fit(self) -> TrainResult:
        """Train until the planned steps are done, or a signal or early stopping ends it.

        Raises:
            UsageError: no such model, or one of your own that does not keep to the protocol.
            RunError: the run was begun with other options, its checkpoints are damaged, its
                tables do not fit the memory, or the loss is no longer finite.
            DataSetError: the data set is incomplete, damaged, or has labels of one kind only.
            OutputError: the disk is full.
            OtherRankError: another rank raised one of these, or ended.
        """
        with ExitStack() as stack:
            peak = stack.enter_context(PeakMemory())
            ranks = stack.enter_context(process_group())
            with ranks.all_or_none():
                manifest = Manifest.read(self.data)
                _refuse_one_label(self.data, manifest)
                config = self.config.resolved(manifest.rows["train"])
                check_model(config)  # before the run's record names it
                if ranks.is_writer:
                    self._tell_chosen(config, manifest.rows["train"])
                    stack.enter_context(self.folder.locked())
                    self.folder.begin(config, self.data, manifest, self._options.from_run)
            with ranks.all_or_none():
                session = Session(
                    config, self.data, manifest, self.folder, ranks, peak, self._options
                )
            return session.run()

    def _tell_chosen(self, config: ResolvedConfig, rows: int) -> None:
        if self.config.open_options and not self._options.quiet:
            sys.stderr.write(
                f"for {config.model} on {rows:,} training rows: {config.chosen(self.config)}\n"
            )

    @property
    def history(self) -> "pl.DataFrame":
        """The evaluations so far, a row each; `criteo_stream.plot` draws them."""
        import polars as pl

        return pl.DataFrame(self.folder.history.read(), infer_schema_length=None)

    def evaluate(self, split: str = "test", data: Path | str | None = None) -> dict[str, Any]:
        """Figures of the best weights on a split, on every rank; see `evaluate_run`."""
        return evaluate_run(self.folder.path, split, data=data, quiet=self._options.quiet)

    def predict(
        self, raw: str | Path | Sequence[str | Path], out: Path | str, **options: Any
    ) -> dict[str, Any]:
        """Score raw lines with the best weights; see `predict_run`."""
        inputs = [raw] if isinstance(raw, str | Path) else raw
        return predict_run(
            self.folder.path, inputs, Path(out), quiet=self._options.quiet, **options
        )


def _refuse_one_label(data: Path, manifest: Manifest) -> None:
    rows = manifest.rows["train"]
    positives = sum(shard.positives for shard in manifest.shards["train"])
    if not rows:
        raise DataSetError(f"the train split of {data} is empty: there is nothing to train on")
    if positives in (0, rows):
        raise DataSetError(
            f"all {rows:,} training labels of {data} are {int(positives > 0)}: "
            "there is nothing to learn; check the label column of the raw logs"
        )
