"""One call of training: restore, step, evaluate, save; on one rank or many.

The position in a run is one number, the steps done; epoch and batch follow from it. Every figure
that a later step needs is in the checkpoint, so that a continued run is the same run.
"""

import math
import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.checkpoint import Checkpoint, CheckpointFolder
from criteo_stream.config import TrainConfig
from criteo_stream.dataset import Batch, CriteoDataset
from criteo_stream.distributed import Ranks
from criteo_stream.errors import RunError, UsageError
from criteo_stream.evaluation import EVALUATION_BATCH, evaluate
from criteo_stream.exchange import distributed
from criteo_stream.loader import CriteoLoader
from criteo_stream.loading import MODEL_PREFIX, load_run
from criteo_stream.manifest import Manifest
from criteo_stream.memory import PeakMemory, format_size
from criteo_stream.models import build_model
from criteo_stream.optim import Optimizers, learning_rate_factor
from criteo_stream.plots import plot_all
from criteo_stream.progress import Progress
from criteo_stream.run import RunFolder
from criteo_stream.stopping import BestFigure, StopSignal

_AGREE_STEPS: Final = 8
"""Steps between two agreements of the ranks on whether to stop."""
_NOTE_STEPS: Final = 50
"""Steps between two updates of the loss beside the progress bar."""
_RANDOM_STATE: Final = "random_state"


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """How training is done; but for ``from_run`` the weights do not depend on it."""

    workers: int = 1
    """Loader threads a rank."""
    checkpoint_every: int = 0
    """Training rows between checkpoints; 0 at evaluations only."""
    keep: int = 2
    """Latest checkpoints kept, beside the best."""
    threads: int | None = None
    """Compute threads a rank; None shares the cores out among the ranks."""
    from_run: Path | None = None
    """Start from the best weights of this run."""
    quiet: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense, naming the flag."""
        for flag, value, least in (
            ("--workers", self.workers, 0),
            ("--checkpoint-every", self.checkpoint_every, 0),
            ("--keep", self.keep, 1),
            ("--threads", 1 if self.threads is None else self.threads, 1),
        ):
            if value < least:
                raise UsageError(f"{flag} is {value}, expected at least {least}")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run came to."""

    run: Path
    steps: int
    rows: int
    """Training rows seen, over all epochs."""
    seconds: float
    """Of this call."""
    rows_per_second: float
    """Of this call's steps, evaluations not counted."""
    peak_memory_bytes: int
    best: dict[str, Any] | None
    """The best evaluation."""
    resumed_from: int | None
    """Step of the checkpoint that this call continued from."""
    finished: bool
    """False where a signal stopped it."""
    history: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The figures of ``--json``."""
        keys = ("epoch", "step", "auc", "log_loss", "ne", "calibration")
        return {
            "run": str(self.run),
            "steps": self.steps,
            "rows": self.rows,
            "rows_per_second": round(self.rows_per_second),
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": self.peak_memory_bytes,
            "best": {k: self.best[k] for k in keys} if self.best else None,
            "resumed_from": self.resumed_from,
            "finished": self.finished,
        }

    def summary(self) -> str:
        """The figures for a person."""
        if not self.finished:
            return f"{self.run}: stopped at step {self.steps:,}; the same command again continues"
        best = "no evaluation (the valid split is empty)"
        if self.best:
            auc = self.best["auc"]
            best = (
                f"best valid AUC {'undefined' if auc is None else format(auc, '.6f')}, "
                f"log loss {self.best['log_loss']:.6f} at step {self.best['step']:,}"
            )
        speed = f", {self.rows_per_second:,.0f} rows/s" if self.rows_per_second else ""
        return (
            f"{self.run}: {self.steps:,} steps, {self.rows:,} rows{speed}, "
            f"peak memory {format_size(self.peak_memory_bytes)}; {best}"
        )


class Session:
    """Trains from where the run's latest checkpoint stands."""

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        manifest: Manifest,
        folder: RunFolder,
        ranks: Ranks,
        peak: PeakMemory,
        options: SessionOptions,
    ) -> None:
        self._config = config
        self._folder = folder
        self._ranks = ranks
        self._peak = peak
        self._options = options
        self._quiet = options.quiet or not ranks.is_writer
        self._checkpoints = CheckpointFolder(
            folder.checkpoints, keep=options.keep, warn=lambda text: self._say(f"warning: {text}")
        )
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
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=ranks.device)
        self._loss_rows = 0
        self._clock = _Clock()

        checkpoint = self._checkpoints.load_latest()
        self._set_threads(checkpoint)
        torch.manual_seed(config.seed)
        self._model = build_model(config, manifest).to(ranks.device)
        if options.from_run is not None and checkpoint is None:
            self._model.load_state_dict(load_run(options.from_run, data).model.state_dict())
        self._optimizers = Optimizers(
            self._model, l2_linear=config.l2_linear, l2_embedding=config.l2_embedding
        )
        self._resumed_from: int | None = None
        if checkpoint is not None:
            self._restore(checkpoint)
        self._first_step = self._evaluated_step = self._step
        self._forward: nn.Module = self._model
        if ranks.world_size > 1:
            self._forward = distributed(self._model)

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
        """Train until the plan is done, patience is used up, or a signal comes."""
        start = time.perf_counter()
        stopped = False
        total_rows = self._config.epochs * self._train_data.rows
        with (
            StopSignal() as signal,
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
            peak_memory_bytes=self._peak.peak_bytes,
            best=self._best.best,
            resumed_from=self._resumed_from,
            finished=not stopped,
            history=history,
        )

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
            self._clock.start()
            for data in batches:
                self._train_step(data)
                self._step += 1
                before, now = self._rows_after(self._step - 1), self._rows_after(self._step)
                bar.advance(now - before)
                if self._step % _NOTE_STEPS == 0:
                    self._note(bar)
                ends_epoch = self._step % self._train_data.steps == 0
                evaluates = ends_epoch or _crosses(before, now, self._config.evaluate_every)
                stops = self._agree_to_stop(signal)
                saves = evaluates or stops or _crosses(before, now, self._options.checkpoint_every)
                if saves:
                    self._clock.stop(loader.wait_seconds)
                    self._evaluate_and_save(bar, evaluates=evaluates)
                    self._clock.start(loader.wait_seconds)
                if stops and not self._is_done:
                    return True
                if self._best.exhausted:
                    return False
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
            raise RunError(self._diverged(loss.item()))
        self._loss_sum += loss
        self._loss_rows += len(label)
        self._optimizers.step(self._learning_rate(self._step))
        self._optimizers.zero_grad()

    def _diverged(self, loss: float) -> str:
        epoch, batch = divmod(self._step, self._train_data.steps)
        return (
            f"the loss is {loss} at step {self._step + 1:,} (epoch {epoch + 1}, batch "
            f"{batch + 1:,}): the last checkpoint in {self._folder.checkpoints} is from before; "
            "start a new run with a smaller --learning-rate"
        )

    def _learning_rate(self, step: int) -> float:
        factor = learning_rate_factor(step, self._total_steps, self._warmup_steps)
        return self._config.learning_rate * factor

    def _agree_to_stop(self, signal: StopSignal) -> bool:
        """Whether any rank got a signal; with several ranks they agree every few steps."""
        if self._ranks.world_size > 1 and self._step % _AGREE_STEPS:
            return False
        return self._ranks.any(signal.received is not None)

    def _note(self, bar: Progress) -> None:
        if self._loss_rows:
            text = f"loss {self._loss_sum.item() / self._loss_rows:.5f}"
            if self._best.best and self._best.best["auc"] is not None:
                text += f", best valid AUC {self._best.best['auc']:.5f}"
            bar.note(text)

    def _evaluate_and_save(self, bar: Progress, *, evaluates: bool) -> None:
        loss_sum, loss_rows = self._global_loss()
        best = self._valid_data is None
        if evaluates and self._valid_data is not None:
            best = self._evaluate(bar, loss_sum / loss_rows)
            self._loss_sum.zero_()
            self._loss_rows = 0
            loss_sum, loss_rows = 0.0, 0
        if self._ranks.is_writer:
            checkpoint = self._checkpoint(loss_sum, loss_rows)
            self._checkpoints.save(self._step, checkpoint, best=best)
        self._ranks.barrier()

    def _evaluate(self, bar: Progress, train_loss: float) -> bool:
        """Evaluate on the valid split and add to the history; whether it is the best so far."""
        assert self._valid_data is not None
        figures = evaluate(
            self._model, self._valid_data, self._ranks, workers=self._options.workers, quiet=True
        )
        rows = self._rows_after(self._step)
        seconds, waited = self._clock.take()
        trained = rows - self._rows_after(max(self._first_step, self._evaluated_step))
        self._evaluated_step = self._step
        line = {
            "epoch": (self._step - 1) // self._train_data.steps + 1,
            "step": self._step,
            "rows": rows,
            "train_loss": train_loss,
            "learning_rate": self._learning_rate(self._step - 1),
            **{k: figures[k] for k in ("auc", "log_loss", "ne", "calibration")},
            "rows_per_second": round(trained / seconds),
            "waited_for_data": round(waited / seconds, 4),
            "peak_memory_bytes": self._peak.peak_bytes,
        }
        best = self._best.update(line)
        if self._ranks.is_writer:
            self._folder.history.append(line)
            auc = "undefined" if line["auc"] is None else f"{line['auc']:.6f}"
            bar.write(
                f"epoch {line['epoch']}, step {line['step']:,}: train loss {train_loss:.6f}, "
                f"valid AUC {auc}, log loss {line['log_loss']:.6f}, "
                f"calibration {line['calibration']:.4f}, {line['rows_per_second']:,} rows/s"
                + (" (best)" if best else "")
            )
        return best

    def _global_loss(self) -> tuple[float, int]:
        """Sum and rows of the training loss since the last evaluation, over all ranks."""
        if self._ranks.world_size == 1:
            return self._loss_sum.item(), self._loss_rows
        both = torch.stack([self._loss_sum, self._loss_sum.new_tensor(self._loss_rows)])
        dist.all_reduce(both)
        return both[0].item(), int(both[1].item())

    def _checkpoint(self, loss_sum: float, loss_rows: int) -> Checkpoint:
        tensors: dict[str, Tensor] = {
            MODEL_PREFIX + name: tensor for name, tensor in self._model.state_dict().items()
        }
        tensors |= self._optimizers.state_tensors()
        tensors[_RANDOM_STATE] = torch.get_rng_state()
        state = {
            "step": self._step,
            "total_steps": self._total_steps,
            "threads": torch.get_num_threads(),
            "loss_sum": loss_sum,
            "loss_rows": loss_rows,
            "best": self._best.state_dict(),
            "data": self._train_data.state_dict(),
        }
        return Checkpoint(tensors, state)

    def _restore(self, checkpoint: Checkpoint) -> None:
        state, tensors = checkpoint.state, checkpoint.tensors
        self._train_data.load_state_dict(state["data"])
        self._model.load_state_dict(
            {
                name.removeprefix(MODEL_PREFIX): tensor
                for name, tensor in tensors.items()
                if name.startswith(MODEL_PREFIX)
            }
        )
        self._optimizers.load_state_tensors(tensors)
        torch.set_rng_state(tensors[_RANDOM_STATE])
        self._best.load_state_dict(state["best"])
        self._step = self._resumed_from = state["step"]
        # The sum is over all ranks: one of them carries it on.
        if self._ranks.is_writer:
            self._loss_sum.fill_(state["loss_sum"])
            self._loss_rows = state["loss_rows"]
            self._folder.history.cut_after(self._step)
        self._say(
            f"continuing at step {self._step:,} of {self._total_steps:,}"
            if not self._is_done
            else f"{self._folder.path} is already finished"
        )

    def _say(self, line: str) -> None:
        if not self._quiet:
            sys.stderr.write(line + "\n")


class _Clock:
    """Time spent in training steps, and in waiting for data among it."""

    def __init__(self) -> None:
        self.total_seconds = 0.0
        self._seconds = self._waited = 0.0
        self._started = self._waited_before = 0.0

    def start(self, waited: float = 0.0) -> None:
        """Go on; ``waited`` is the loader's waiting time until now."""
        self._started, self._waited_before = time.perf_counter(), waited

    def stop(self, waited: float) -> None:
        """Pause."""
        seconds = time.perf_counter() - self._started
        self.total_seconds += seconds
        self._seconds += seconds
        self._waited += waited - self._waited_before

    def take(self) -> tuple[float, float]:
        """Seconds and waiting seconds since the last call."""
        taken = self._seconds, self._waited
        self._seconds = self._waited = 0.0
        return taken


def _crosses(before: int, now: int, every: int) -> bool:
    """Whether a multiple of ``every`` rows was passed; never for 0."""
    return every > 0 and now // every > before // every
