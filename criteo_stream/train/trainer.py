"""Training: from a data set and a configuration to a run folder.

A run is a pure function of its configuration, its data set, the number of ranks and threads. It
can be stopped at any moment: the same command continues from the last checkpoint to the same
weights, bit for bit.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

from torch import nn

from criteo_stream.base.amounts import counted
from criteo_stream.base.errors import UsageError
from criteo_stream.base.memory import PeakMemory
from criteo_stream.base.paths import user_path
from criteo_stream.base.ranks import process_group
from criteo_stream.base.storage import refuse_inside
from criteo_stream.data.manifest import Manifest
from criteo_stream.metrics.figures import DetailedEvaluation
from criteo_stream.models import check_model
from criteo_stream.predict.restore import load_run
from criteo_stream.runs.config import ResolvedConfig, TrainConfig
from criteo_stream.runs.execution import Execution, ExecutionKeywords
from criteo_stream.runs.folder import RunFolder
from criteo_stream.train.assembly import train
from criteo_stream.train.callbacks import Callback
from criteo_stream.train.limits import refuse_one_label
from criteo_stream.train.loggers import opened
from criteo_stream.train.result import TrainResult

if TYPE_CHECKING:
    import polars as pl

    from criteo_stream.predict.scorer import Predictions


_SHAPE: Final = ("embedding_dim", "bins")
"""Options that shape the tables."""
_EVALUATIONS: Final = ("evaluate_every", "evaluate_rows")
"""Options that a run begun by an older version may have other defaults of."""


class Trainer:
    """Trains a model on a prepared data set into a run folder.

    Args:
        data: folder of the data set.
        out: folder of the run; an interrupted run of the same options is continued.
        config: the options that decide the weights.
        callbacks: told of evaluations, checkpoints and the end; on several ranks, those of the
            writing one are.
        **execution: how training is executed; see `Execution`.

    Raises:
        UsageError: an option is unknown or makes no sense.
    """

    def __init__(
        self,
        data: Path | str,
        out: Path | str,
        config: TrainConfig | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        **execution: Unpack[ExecutionKeywords],
    ) -> None:
        self.data = user_path(data)
        self.folder = RunFolder(out)
        self.config = config or TrainConfig()
        self._execution = Execution(**execution)  # type: ignore[arg-type]  # checks and converts
        self._callbacks = tuple(callbacks)
        self._heard_by: tuple[Callback, ...] = self._callbacks
        for callback in self._callbacks:
            if not isinstance(callback, Callback):
                raise UsageError(
                    f"callbacks has {callback!r}: give objects of classes based on "
                    "criteo_stream.Callback"
                )
        self._model: nn.Module | None = None

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
        self._model, self._heard_by = None, ()
        with ExitStack() as stack:
            peak = stack.enter_context(PeakMemory())
            ranks = stack.enter_context(
                process_group(device=self._execution.device, any_launcher=True)
            )
            with ranks.all_or_none():
                manifest = Manifest.read(self.data)
                refuse_one_label(self.data, manifest)
                config = self._shaped().resolved(
                    manifest.rows["train"],
                    manifest.thinned,
                    manifest.rows["valid"],
                    sum(manifest.categories),
                )
                check_model(config)  # before the run's record names it
                if ranks.is_writer:
                    refuse_inside(self.folder.path, self.data)
                    stack.enter_context(self.folder.locked())
                    self.folder.begin(config, self.data, manifest, self._execution.from_run)
                    loggers = opened(self._execution.loggers, quiet=self._execution.quiet)
                    self._heard_by = (*loggers, *self._callbacks)
                    stack.enter_context(_told_of_errors(self._heard_by))
            return train(
                config,
                self.data,
                manifest,
                self.folder,
                ranks=ranks,
                peak=peak,
                execution=self._execution,
                callbacks=self._heard_by,
                chosen=self._chosen(config, manifest.rows["train"]),
            )

    def _shaped(self) -> TrainConfig:
        """The options; what shapes the tables is that of the run gone on with, where it is open."""
        names: tuple[str, ...] = _SHAPE
        if self.folder.is_begun():
            known, names = self.folder.read().config, (*_SHAPE, *_EVALUATIONS)
        elif self._execution.from_run is not None:
            known = RunFolder(self._execution.from_run).read().config
        else:
            return self.config
        shape = {n: getattr(known, n) for n in names if getattr(self.config, n) is None}
        return dataclasses.replace(self.config, **shape)

    def _chosen(self, config: ResolvedConfig, rows: int) -> str:
        chosen = config.chosen(self.config)
        return chosen and f"for {config.model} on {counted(rows, 'training row')}: {chosen}"

    @property
    def model(self) -> nn.Module:
        """The run's best weights so far, in evaluation mode on the CPU; loaded on first use.

        Raises:
            RunError: the run has no sound best checkpoint yet.
        """
        if self._model is None:
            self._model = load_run(
                self.folder.path, self.data, trust_model=self._trusted
            ).model.eval()
        return self._model

    def __repr__(self) -> str:
        return f"<Trainer of {self.config.model} on {self.data} into {self.folder.path}>"

    @property
    def history(self) -> "pl.DataFrame":
        """The evaluations so far, a row each; `criteo_stream.plot` draws them."""
        import polars as pl

        lines = [line.to_dict() for line in self.folder.history.read()]
        return pl.DataFrame(lines, infer_schema_length=None)

    def evaluate(self, split: str = "test", data: Path | str | None = None) -> DetailedEvaluation:
        """Figures of the best weights on a split, on every rank; see `evaluate_run`."""
        from criteo_stream.predict.evaluate import evaluate_run

        found = evaluate_run(
            self.folder.path,
            split,
            data=data,
            device=self._execution.device,
            trust_model=self._trusted,
            quiet=self._execution.quiet,
        )
        for callback in self._heard_by:
            callback.on_test(split, found)
        return found

    def predict(
        self, raw: str | Path | Sequence[str | Path], out: Path | str, **options: Any
    ) -> "Predictions":
        """Score raw lines with the best weights; see `predict_run`."""
        from criteo_stream.predict.scorer import predict_run

        inputs = [raw] if isinstance(raw, str | Path) else raw
        return predict_run(
            self.folder.path,
            inputs,
            user_path(out),
            **{
                "device": self._execution.device,
                "trust_model": self._trusted,
                "quiet": self._execution.quiet,
                **options,
            },
        )

    @property
    def _trusted(self) -> bool | str:
        """The model that may be imported: the one that the caller named."""
        return self._execution.trust_model or self.config.model


@contextmanager
def _told_of_errors(callbacks: Sequence[Callback]) -> Iterator[None]:
    """A block whose error callbacks hear of."""
    try:
        yield
    except BaseException as error:
        for callback in callbacks:
            try:
                callback.on_error(error)
            except Exception as another:  # must hide neither the first nor the other callbacks
                error.add_note(f"{callback!r} raised {another!r} when told of it")
        raise
