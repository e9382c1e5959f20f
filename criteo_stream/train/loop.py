"""The training loop: step, evaluate, save, until the plan is done or a signal comes."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor, nn

from criteo_stream.base.errors import RunError
from criteo_stream.base.progress import Progress
from criteo_stream.base.ranks import Ranks
from criteo_stream.data.copy_ahead import copied_ahead
from criteo_stream.data.dataset import Batch
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.data.resident import ResidentLoader
from criteo_stream.models import may_draw
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.train.active_run import ActiveRun
from criteo_stream.train.callbacks import Callback
from criteo_stream.train.diverged import all_finite, offending_columns
from criteo_stream.train.graphed import GraphedStep
from criteo_stream.train.occasions import Due, Occasions
from criteo_stream.train.recorder import Recorder
from criteo_stream.train.step import LossNotFiniteError, train_step

_NOTE_STEPS: Final = 50
"""Steps between two updates of the loss beside the progress bar."""


@dataclass(frozen=True, kw_only=True)
class TrainLoop:
    """Drives a run to its end; every rank has one, and all go in step."""

    training: ActiveRun
    """The run; it goes on from where it stands."""
    model: nn.Module
    """The model that a step calls: the run's own, wrapped under DDP."""
    recorder: Recorder
    """Evaluates the run and records what it finds."""
    occasions: Occasions
    """Say when to evaluate, save and stop."""
    checkpoints: CheckpointFolder
    """Where the writing rank saves."""
    ranks: Ranks
    workers: int = 1
    """Loader threads of a rank."""
    callbacks: Sequence[Callback] = ()
    """Told of checkpoints, on the writing rank."""
    resident: torch.device | None = None
    """Where all rows are kept in memory; None reads them from disk in every epoch."""

    def run(self, bar: Progress) -> bool:
        """Train until the plan is done or patience has run out; False where a signal came first.

        Raises:
            RunError: the loss or a weight is no longer finite.
            DataSetError: a shard is missing or damaged.
            OutputError: the disk is full.
        """
        training, clock = self.training, self.recorder.clock
        device = self.ranks.device
        while not training.is_done():
            training.data.set_epoch(training.step // training.data.steps)
            loader = self._loader
            with closing(iter(loader)) as loaded, closing(copied_ahead(loaded, device)) as batches:
                clock.start(loader.wait_seconds)
                for batch in batches:
                    rows_before = training.rows
                    self._step(batch)
                    bar.advance(training.rows - rows_before)
                    if training.step % _NOTE_STEPS == 0:
                        self._refuse_infinite_loss()
                        bar.note(self._note())
                    due = self.occasions.after(
                        training.step,
                        rows_before,
                        training.rows,
                        ends_epoch=training.step % training.data.steps == 0,
                    )
                    if due.save:
                        clock.stop(loader.wait_seconds)
                        self._save(bar, due)
                        clock.start(loader.wait_seconds)
                    if training.is_done():
                        break
                    if due.stop:
                        return False
        return True

    @cached_property
    def _loader(self) -> CriteoLoader | ResidentLoader:
        data, pin_memory = self.training.data, self.ranks.device.type == "cuda"
        if self.resident is None:
            return CriteoLoader(data, workers=self.workers, pin_memory=pin_memory)
        return ResidentLoader(data, self.resident, self.workers, pin_memory=pin_memory)

    def _step(self, batch: Batch) -> None:
        """Train on a batch on the device, and count it."""
        training = self.training
        training.optimizers.set_learning_rate(training.learning_rate(training.step))
        if (exchange := training.optimizers.exchange) is not None:
            number = training.step % training.data.steps
            exchange.most_rows = training.data.most_rows_of_a_rank(number)
        (numeric, _), label = batch
        try:
            with training.drawing():
                if self._graphed is not None:
                    self._graphed(batch)
                else:
                    self._train_on(batch)
        except LossNotFiniteError as error:
            raise self._diverged(str(error), training.step, numeric) from None
        training.loss.count(len(label))
        training.step += 1

    @cached_property
    def _graphed(self) -> GraphedStep | None:
        """The step as a graph, where there can be one.

        A graph holds neither other ranks, nor sparse gradients, nor a user's model that may read
        numbers back.
        """
        training, device = self.training, self.ranks.device
        can_be = device.type == "cuda" and self.ranks.world_size == 1
        if can_be and training.optimizers.are_fused and not may_draw(training.config):
            return GraphedStep(self._train_on, training.data.order.batch_size, device)
        return None

    @cached_property
    def _logit_shift(self) -> float:
        return self.training.data.logit_shift

    def _train_on(self, batch: Batch) -> None:
        """The device's part of a step; nothing is read from it on a GPU."""
        training = self.training
        loss = train_step(
            self.model,
            training.optimizers,
            batch,
            training.data.rows_in_batch(training.step % training.data.steps),
            self.ranks.world_size,
            self._logit_shift,
        )
        training.loss.accumulate(loss)

    def _refuse_infinite_loss(self) -> None:
        """On a GPU, see whether all losses were finite; on the CPU each step does.

        Raises:
            RunError: one was not.
        """
        if self.ranks.device.type == "cpu":
            return
        if steps := self.training.loss.steps_since_finite():
            nothing = torch.empty(0, len(self.training.data.manifest.numeric))
            what = "the loss is no longer finite"
            raise self._diverged(what, self.training.step - steps, nothing)

    def _save(self, bar: Progress, due: Due) -> None:
        """Save a checkpoint, after an evaluation if one is due; all ranks must call it."""
        training = self.training
        with self.ranks.all_or_none():
            self._refuse_infinite_loss()
            # A loss can be finite when the update that it leads to is not.
            if not all_finite(training.model):
                nothing = torch.empty(0, len(training.data.manifest.numeric))
                what = "a weight is no longer finite"
                raise self._diverged(what, training.step - 1, nothing)
        with training.drawing():
            best = due.evaluate and self.recorder.record(bar, whole=due.ends_epoch)
        if due.evaluate:
            bar.note(self._note())
        checkpoint = training.checkpoint()
        if self.ranks.is_writer:
            folder = self.checkpoints.save(training.step, checkpoint, best=best)
            for callback in self.callbacks:
                callback.on_checkpoint(folder, training.step)
        self.ranks.barrier()
        self.occasions.saved()

    def _note(self) -> str:
        """Figures beside the bar, short enough to leave it room on 80 columns."""
        loss, latest = self.training.loss, self.recorder.latest
        mean = latest.train_loss if loss.is_empty and latest else loss.mean_here()
        best = self.training.early_stopping.best
        auc = f", AUC {best.auc:.4f}" if best is not None and best.auc is not None else ""
        return f"loss {mean:.4f}{auc}"

    def _diverged(self, what: str, step: int, numeric: Tensor) -> RunError:
        """The error of a step, counted from 0, whose batch had these numeric inputs [b, 13]."""
        training = self.training
        epoch, batch = divmod(step, training.data.steps)
        columns = offending_columns(training.model, numeric)
        return RunError(
            f"{what} at step {step + 1:,} (epoch {epoch + 1}, batch {batch + 1:,}; "
            f"diverged columns: {', '.join(columns) or 'none alone'}): the last checkpoint in "
            f"{self.checkpoints.folder} is from before; "
            "start a new run with a smaller --learning-rate or --init-scale"
        )
