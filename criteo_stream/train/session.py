"""One call of training: restore, step, evaluate, save; on one rank or many.

The position in a run is one number, the steps done; epoch and batch follow from it. Every figure
that a later step needs is in the checkpoint, so that a continued run is the same run.
"""

import math
import os
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.base.errors import RunError
from criteo_stream.base.memory import PeakMemory
from criteo_stream.base.progress import Progress
from criteo_stream.base.ranks import Ranks
from criteo_stream.data.dataset import Batch, CriteoDataset
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.data.manifest import Manifest
from criteo_stream.metrics.evaluation import FIGURES, figures_text
from criteo_stream.metrics.measure import EVALUATION_BATCH, evaluate
from criteo_stream.metrics.plots import plot_all
from criteo_stream.models import build_model
from criteo_stream.predict.restore import load_run, load_weights, model_tensors
from criteo_stream.runs.checkpoint import Checkpoint, CheckpointFolder
from criteo_stream.runs.config import ResolvedConfig, SessionOptions
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.tensorboard import Board
from criteo_stream.sparse.exchange import distributed
from criteo_stream.train.diverged import all_finite, offending_columns
from criteo_stream.train.early_stopping import BestFigure
from criteo_stream.train.limits import refuse_what_does_not_fit
from criteo_stream.train.meters import Clock, RunningLoss
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.result import TrainResult
from criteo_stream.train.schedule import learning_rate_factor
from criteo_stream.train.signals import StopSignal

_AGREE_STEPS: Final = 8
"""Steps between two agreements of the ranks on whether to stop or to save."""
_NOTE_STEPS: Final = 50
"""Steps between two updates of the loss beside the progress bar."""
_RANDOM_STATE: Final = "random_state"


class Session:
    """Trains from where the run's latest checkpoint stands.

    Making one restores the checkpoint and needs no other rank; `run` needs them all.

    Raises:
        RunError: the run's checkpoints are damaged or do not fit, or the memory does not suffice.
        OutputError: the disk has no room for the checkpoints.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        data: Path,
        manifest: Manifest,
        folder: RunFolder,
        ranks: Ranks,
        peak: PeakMemory,
        options: SessionOptions,
    ) -> None:
        self._config = config
        self._manifest = manifest
        self._folder = folder
        self._ranks = ranks
        self._peak = peak
        self._options = options
        self._quiet = options.quiet or not ranks.is_writer
        self._checkpoints = CheckpointFolder(folder.checkpoints, keep=options.keep, warn=self._warn)
        self._train_data = self._dataset(data, "train", config.batch_size, shuffle=True)
        self._valid_data = (
            self._dataset(data, "valid", EVALUATION_BATCH, shuffle=False)
            if manifest.rows["valid"]
            else None
        )
        self._total_steps = config.epochs * self._train_data.steps
        self._warmup_steps = round(config.warmup * self._total_steps)
        self._step = 0
        self._best = BestFigure(config.monitor, config.patience)
        self._loss = RunningLoss(ranks)
        self._clock = Clock()
        self._saved_at = time.monotonic()

        checkpoint = self._checkpoints.load_latest()
        refuse_what_does_not_fit(
            config,
            manifest,
            ranks,
            folder.checkpoints,
            keep=options.keep,
            resuming=checkpoint is not None,
        )
        self._set_threads(checkpoint)
        torch.manual_seed(config.seed)
        self._model = build_model(config, manifest).to(ranks.device)
        if options.from_run is not None and checkpoint is None:
            start = load_run(options.from_run, data).model
            load_weights(self._model, model_tensors(start), options.from_run)
        self._optimizers = Optimizers(
            self._model,
            l2_linear=config.l2_linear,
            l2_embedding=config.l2_embedding,
            epsilon=config.epsilon,
        )
        self._resumed_from: int | None = None
        if checkpoint is not None:
            self._restore(checkpoint)
        self._first_step = self._evaluated_step = self._step
        self._board = (
            Board(folder.tensorboard, self._rows_after(self._step))
            if options.tensorboard and ranks.is_writer
            else None
        )
        self._forward: nn.Module = self._model

    def _dataset(self, data: Path, split: str, batch_size: int, *, shuffle: bool) -> CriteoDataset:
        return CriteoDataset(
            data,
            split,
            batch_size,
            seed=self._config.seed,
            lanes=max(self._config.lanes, self._ranks.world_size if not shuffle else 0),
            rank=self._ranks.rank,
            world_size=self._ranks.world_size,
            shuffle=shuffle,
        )

    def _set_threads(self, checkpoint: Checkpoint | None) -> None:
        """Sums over threads differ in bits with their number, so a run keeps it."""
        cores = len(os.sched_getaffinity(0))
        threads = self._options.threads or max(1, cores // self._ranks.local_world_size)
        if checkpoint is not None and self._options.threads is None:
            threads = checkpoint.state["threads"]
        torch.set_num_threads(threads)

    def run(self) -> TrainResult:
        """Train until the plan is done, patience is used up, or a signal comes.

        Raises:
            RunError: the loss or a weight is no longer finite.
            DataSetError: a shard is missing or damaged.
            OutputError: the disk is full.
        """
        start = time.perf_counter()
        self._join_ranks()
        stopped = False
        total_rows = self._config.epochs * self._train_data.rows
        with (
            closing(self._board) if self._board else nullcontext(),
            StopSignal(alone=self._ranks.world_size == 1) as signal,
            Progress(
                "train", total_rows, done=self._rows_after(self._step), quiet=self._quiet
            ) as bar,
        ):
            while not (stopped or self._is_done):
                stopped = self._run_epoch(bar, signal)
        history = self._folder.history.read()
        if self._ranks.is_writer and not stopped:
            plot_all(history, self._folder.plots)
        rows = self._rows_after(self._step)
        trained = rows - self._rows_after(self._first_step)
        return TrainResult(
            run=self._folder.path,
            steps=self._step,
            rows=rows,
            seconds=time.perf_counter() - start,
            rows_per_second=trained / self._clock.total_seconds if trained else 0.0,
            peak_memory_bytes=self._peak_bytes(),
            best=self._best.best,
            resumed_from=self._resumed_from,
            finished=not stopped,
            history=history,
        )

    def _join_ranks(self) -> None:
        """Begin together: all ranks at one step, the folder as it was then, gradients shared."""
        steps = [int(step) for (step,) in self._ranks.gather([self._step])]
        if len(set(steps)) > 1:
            raise RunError(
                f"the ranks read different checkpoints of {self._folder.path} (steps {steps}): "
                "all of them need the same folder"
            )
        if self._ranks.is_writer:
            self._folder.history.cut_after(self._step)
            if self._step:
                self._checkpoints.rewind(self._step, self._best.step)
        if self._ranks.world_size > 1:
            self._forward = distributed(self._model)

    @property
    def _is_done(self) -> bool:
        return self._step >= self._total_steps or self._best.exhausted

    def _rows_after(self, step: int) -> int:
        """Global training rows of the first steps of the run."""
        epochs, batches = divmod(step, self._train_data.steps)
        rows = self._train_data.rows
        return epochs * rows + min(batches * self._config.batch_size, rows)

    def _run_epoch(self, bar: Progress, signal: StopSignal) -> bool:
        """Train to the end of the current epoch; whether a signal stopped it before."""
        self._train_data.set_epoch(self._step // self._train_data.steps)
        loader = CriteoLoader(
            self._train_data,
            workers=self._options.workers,
            pin_memory=self._ranks.device.type == "cuda",
        )
        with closing(iter(loader)) as batches:
            self._clock.start(loader.wait_seconds)
            for data in batches:
                self._train_step(data)
                self._step += 1
                before, now = self._rows_after(self._step - 1), self._rows_after(self._step)
                bar.advance(now - before)
                if self._step % _NOTE_STEPS == 0:
                    self._note(bar)
                ends_epoch = self._step % self._train_data.steps == 0
                evaluates = ends_epoch or _crosses(before, now, self._config.evaluate_every)
                stops, is_time = self._agree(signal)
                if (
                    evaluates
                    or stops
                    or is_time
                    or _crosses(before, now, self._options.checkpoint_every)
                ):
                    self._clock.stop(loader.wait_seconds)
                    self._evaluate_and_save(bar, evaluates=evaluates)
                    self._clock.start(loader.wait_seconds)
                if self._is_done:
                    return False
                if stops:
                    return True
        return False

    def _train_step(self, data: Batch) -> None:
        (numeric, categorical), label = data
        device = self._ranks.device
        logits = self._forward(
            numeric.to(device, non_blocking=True), categorical.to(device, non_blocking=True)
        )
        label = label.to(device, non_blocking=True)
        loss_sum = F.binary_cross_entropy_with_logits(logits, label, reduction="sum")
        global_rows = self._train_data.rows_in_batch(self._step % self._train_data.steps)
        # DDP averages gradients over ranks; this makes the average the global batch's mean.
        scaled: Tensor = loss_sum * (self._ranks.world_size / global_rows)
        scaled.backward()  # type: ignore[no-untyped-call]
        loss = loss_sum.detach()
        if not math.isfinite(loss.item()):
            raise RunError(self._diverged(f"the loss is {loss.item()}", numeric))
        self._loss.add(loss, len(label))
        self._optimizers.step(self._learning_rate(self._step))
        self._optimizers.zero_grad()

    def _diverged(self, what: str, numeric: Tensor) -> str:
        epoch, batch = divmod(self._step, self._train_data.steps)
        columns = offending_columns(self._config, self._manifest, self._model, numeric)
        return (
            f"{what} at step {self._step + 1:,} (epoch {epoch + 1}, batch {batch + 1:,}; "
            f"diverged columns: {', '.join(columns) or 'none alone'}): the last checkpoint in "
            f"{self._folder.checkpoints} is from before; "
            "start a new run with a smaller --learning-rate"
        )

    def _learning_rate(self, step: int) -> float:
        factor = learning_rate_factor(step, self._total_steps, self._warmup_steps)
        return self._config.learning_rate * factor

    def _agree(self, signal: StopSignal) -> tuple[bool, ...]:
        """Whether any rank got a signal, and whether it is time to save.

        Several ranks agree every few steps only.
        """
        if self._ranks.world_size > 1 and self._step % _AGREE_STEPS:
            return False, False
        minutes = (time.monotonic() - self._saved_at) / 60
        is_time = 0 < self._options.checkpoint_minutes <= minutes
        return self._ranks.any(signal.received is not None, is_time)

    def _note(self, bar: Progress) -> None:
        text = f"loss {self._loss.mean_here():.5f}"
        if self._best.best and self._best.best["auc"] is not None:
            text += f", best valid AUC {self._best.best['auc']:.5f}"
        bar.note(text)

    def _evaluate_and_save(self, bar: Progress, *, evaluates: bool) -> None:
        with self._ranks.all_or_none():
            self._refuse_diverged_weights()
        best = self._evaluate(bar) if evaluates else False
        checkpoint = self._checkpoint()
        if self._ranks.is_writer:
            self._checkpoints.save(self._step, checkpoint, best=best)
        self._ranks.barrier()
        self._saved_at = time.monotonic()

    def _refuse_diverged_weights(self) -> None:
        """A loss can be finite when the update that it leads to is not."""
        if not all_finite(self._model):
            self._step -= 1  # the step that did it
            nothing = torch.empty(0, len(self._manifest.numeric))
            raise RunError(self._diverged("a weight is no longer finite", nothing))

    def _evaluate(self, bar: Progress) -> bool:
        """Evaluate on the valid split and add to the history; whether it is the best so far."""
        figures: dict[str, Any] = dict.fromkeys(FIGURES)
        if self._valid_data is not None:
            figures = evaluate(
                self._model,
                self._valid_data,
                self._ranks,
                workers=self._options.workers,
                quiet=True,
            )
        rows = self._rows_after(self._step)
        seconds, waited = self._clock.take()
        trained = rows - self._rows_after(self._evaluated_step)
        self._evaluated_step = self._step
        line = {
            "epoch": (self._step - 1) // self._train_data.steps + 1,
            "step": self._step,
            "rows": rows,
            "train_loss": self._loss.take_mean(),
            "learning_rate": self._learning_rate(self._step - 1),
            **{key: figures[key] for key in FIGURES},
            "rows_per_second": round(trained / seconds),
            "waited_for_data": round(waited / seconds, 4),
            "peak_memory_bytes": self._peak_bytes(),
        }
        best = self._best.update(line)
        if self._ranks.is_writer:
            self._folder.history.append(line)
            if self._board is not None:
                self._board.add(line)
            valid = figures_text(line) if self._valid_data is not None else "split is empty"
            bar.write(
                f"epoch {line['epoch']}, step {line['step']:,}: "
                f"train loss {line['train_loss']:.6f}, valid {valid}, "
                f"{line['rows_per_second']:,} rows/s" + (" (best)" if best else "")
            )
        return best

    def _peak_bytes(self) -> int:
        """The ranks' peaks added up."""
        return sum(int(peak) for (peak,) in self._ranks.gather([self._peak.peak_bytes]))

    def _checkpoint(self) -> Checkpoint:
        tensors = model_tensors(self._model) | self._optimizers.state_tensors()
        tensors[_RANDOM_STATE] = torch.get_rng_state()
        state = {
            "step": self._step,
            "total_steps": self._total_steps,
            "threads": torch.get_num_threads(),
            "loss": self._loss.state(),
            "best": self._best.state_dict(),
            "data": self._train_data.state_dict(),
        }
        return Checkpoint(tensors, state)

    def _restore(self, checkpoint: Checkpoint) -> None:
        state, tensors = checkpoint.state, checkpoint.tensors
        try:
            self._step = self._resumed_from = int(state["step"])
            load_weights(self._model, tensors, self._checkpoints.path(self._step))
            self._optimizers.load_state_tensors(tensors)
            torch.set_rng_state(tensors[_RANDOM_STATE].clone())
            self._train_data.load_state_dict(state["data"])
            self._loss.load_state(state["loss"])
            self._best.load_state_dict(state["best"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                f"the checkpoint of step {state.get('step')} in {self._checkpoints.folder} does "
                f"not fit this run ({error}): start a new run"
            ) from None
        best_step = self._best.step
        if best_step is not None and not self._checkpoints.path(best_step).exists():
            # A later and better one had taken its place, and was damaged.
            self._best.best = None
        self._say(
            f"continuing at step {self._step:,} of {self._total_steps:,}"
            if not self._is_done
            else f"{self._folder.path} is already finished"
        )

    def _say(self, line: str) -> None:
        if not self._quiet:
            sys.stderr.write(line + "\n")

    def _warn(self, text: str) -> None:
        if self._ranks.is_writer:
            sys.stderr.write(f"warning: {text}\n")


def _crosses(before: int, now: int, every: int) -> bool:
    """Whether a multiple of ``every`` rows was passed; never for 0."""
    return every > 0 and now // every > before // every
