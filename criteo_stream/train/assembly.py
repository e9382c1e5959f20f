"""A run put together: restored or begun, handed to the loop, and summed up."""

import time
from collections.abc import Sequence
from pathlib import Path

from criteo_stream.base.errors import RunError
from criteo_stream.base.memory import PeakMemory
from criteo_stream.base.progress import Progress
from criteo_stream.base.ranks import Ranks
from criteo_stream.base.terminal import say, wrapped
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.manifest import Manifest
from criteo_stream.metrics.measure import EVALUATION_BATCH
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.config import ResolvedConfig
from criteo_stream.runs.curves import plot_all
from criteo_stream.runs.execution import Execution
from criteo_stream.runs.folder import RunFolder
from criteo_stream.sparse.exchange import distributed
from criteo_stream.train.active_run import ActiveRun, set_threads
from criteo_stream.train.callbacks import Callback, RunStart
from criteo_stream.train.card import write_card
from criteo_stream.train.diverged import verdict
from criteo_stream.train.limits import refuse_what_does_not_fit, where_rows_stay
from criteo_stream.train.loop import TrainLoop
from criteo_stream.train.occasions import Occasions
from criteo_stream.train.recorder import Recorder
from criteo_stream.train.result import TrainResult
from criteo_stream.train.signals import StopSignal


def train(
    config: ResolvedConfig,
    data: Path,
    manifest: Manifest,
    folder: RunFolder,
    *,
    ranks: Ranks,
    peak: PeakMemory,
    execution: Execution,
    chosen: str = "",
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Train a run that was begun, from where its latest checkpoint stands; every rank calls it.

    ``chosen`` tells what open options became, once nothing stands in the way of training. Only the
    writing rank has ``callbacks``.

    Raises:
        RunError: the run's checkpoints are damaged or do not fit, the memory does not suffice, or
            the loss or a weight is no longer finite.
        DataSetError: a shard is missing or damaged.
        OutputError: the disk has no room for the checkpoints.
    """
    started = time.perf_counter()
    quiet = execution.quiet or not ranks.is_writer
    checkpoints = CheckpointFolder(
        folder.checkpoints,
        keep=execution.keep,
        warn=lambda text: _say(f"warning: {text}", quiet=not ranks.is_writer),
    )
    with ranks.all_or_none():
        training = _restored_or_begun(config, data, manifest, checkpoints, ranks, execution, quiet)
        resumed_from = training.step or None
        first_rows = training.rows
        recorder = Recorder(
            training,
            _valid_split(config, data, manifest, ranks),
            folder,
            ranks,
            peak,
            callbacks,
            workers=execution.workers,
        )
    _join(training, folder, checkpoints, ranks)
    start = RunStart(
        run=folder.path,
        data=data,
        data_fingerprint=manifest.fingerprint,
        config=config,
        rows=training.rows,
        history=folder.history.read(),
    )
    with ranks.all_or_none():
        for callback in callbacks:
            callback.on_start(start)
        resident = where_rows_stay(
            execution.cache, training.model, training.data.rows, config, ranks
        )
    if chosen and not training.is_done():
        for line in wrapped(chosen):
            _say(line, quiet=quiet)
    with (
        StopSignal(alone=ranks.world_size == 1) as signal,
        Progress(
            "train",
            config.epochs * training.data.rows,
            done=training.rows,
            quiet=quiet or training.is_done(),
        ) as bar,
    ):
        loop = TrainLoop(
            training=training,
            # Several ranks share their gradients.
            model=distributed(training.model) if ranks.world_size > 1 else training.model,
            recorder=recorder,
            occasions=Occasions(
                ranks=ranks,
                execution=execution,
                evaluate_every=config.evaluate_every,
                epoch_rows=training.data.rows,
                signal=signal,
            ),
            checkpoints=checkpoints,
            ranks=ranks,
            workers=execution.workers,
            callbacks=callbacks,
            resident=resident,
        )
        finished = loop.run(bar)
    history = folder.history.read()
    warning = verdict(history, config) if finished else None
    trained = training.rows - first_rows
    result = TrainResult(
        run=folder.path,
        steps=training.step,
        rows=training.rows,
        seconds=time.perf_counter() - started,
        rows_per_second=trained / recorder.clock.total_seconds if trained else 0.0,
        peak_memory_bytes=recorder.peak_bytes(),
        peak_device_memory_bytes=recorder.peak_device_bytes(),
        best=training.early_stopping.best,
        resumed_from=resumed_from,
        finished=finished,
        history=history,
        warnings=[warning] if warning else [],
    )
    if ranks.is_writer and finished:
        plot_all(history, folder.plots)
        write_card(folder, config, data, manifest, result)
    if warning is not None:
        _say(f"warning: {warning}", quiet=not ranks.is_writer)
    for callback in callbacks:
        callback.on_end(result)
    return result


def _restored_or_begun(
    config: ResolvedConfig,
    data: Path,
    manifest: Manifest,
    checkpoints: CheckpointFolder,
    ranks: Ranks,
    execution: Execution,
    quiet: bool,
) -> ActiveRun:
    """The run where its latest checkpoint stands; needs no other rank."""
    dataset = CriteoDataset(
        data,
        "train",
        config.batch_size,
        seed=config.seed,
        lanes=config.lanes,
        rank=ranks.rank,
        world_size=ranks.world_size,
        shuffle=True,
    )
    checkpoint = checkpoints.load_latest()
    resuming = checkpoint is not None
    refuse_what_does_not_fit(
        config, manifest, ranks, checkpoints.folder, keep=execution.keep, resuming=resuming
    )
    set_threads(execution, ranks, checkpoint, checkpoints.folder)
    from_run = execution.from_run if checkpoint is None else None
    training = ActiveRun.begin(
        config,
        dataset,
        manifest,
        ranks,
        from_run,
        trust_model=execution.trust_model or config.model,
    )
    if checkpoint is None:
        return training
    training.restore(checkpoint, checkpoints.folder)
    best_step = training.early_stopping.step
    if best_step is not None and not checkpoints.path(best_step).exists():
        # A later and better one had taken its place, and was damaged.
        training.early_stopping.best = None
    if training.is_done():
        _say(f"{checkpoints.folder.parent} is already finished", quiet=quiet)
    else:
        _say(f"continuing at step {training.step:,} of {training.total_steps:,}", quiet=quiet)
    return training


def _valid_split(
    config: ResolvedConfig, data: Path, manifest: Manifest, ranks: Ranks
) -> CriteoDataset | None:
    """This rank's share of the valid split; None where it is empty."""
    if not manifest.rows["valid"]:
        return None
    return CriteoDataset(
        data,
        "valid",
        EVALUATION_BATCH,
        seed=config.seed,
        lanes=max(config.lanes, ranks.world_size),
        rank=ranks.rank,
        world_size=ranks.world_size,
        shuffle=False,
    )


def _join(
    training: ActiveRun, folder: RunFolder, checkpoints: CheckpointFolder, ranks: Ranks
) -> None:
    """Begin together: all ranks at one step, the folder as it was then.

    Raises:
        RunError: the ranks stand at different steps.
    """
    steps = [int(step) for (step,) in ranks.gather([training.step])]
    if len(set(steps)) > 1:
        raise RunError(
            f"the ranks read different checkpoints of {folder.path} (steps {steps}): "
            "all of them need the same folder"
        )
    if ranks.is_writer:
        folder.history.cut_after(training.step)
        if training.step:
            checkpoints.rewind(training.step, training.early_stopping.step)


def _say(line: str, *, quiet: bool) -> None:
    if not quiet:
        say(line)
