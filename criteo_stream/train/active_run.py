"""A run under way: its data, model and optimizers, and what changes from step to step."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from criteo_stream.base.errors import RunError
from criteo_stream.base.random_numbers import RandomNumbers
from criteo_stream.base.ranks import Ranks
from criteo_stream.base.system import cores
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.manifest import Manifest
from criteo_stream.models import FM, build_model, may_draw
from criteo_stream.predict.restore import load_weights
from criteo_stream.runs.checkpoint import Checkpoint
from criteo_stream.runs.config import ResolvedConfig
from criteo_stream.runs.execution import Execution
from criteo_stream.runs.state import TrainState, moments_in, random_state_in, weights_in
from criteo_stream.sparse.exchange_lookups import LookupExchange
from criteo_stream.train.early_stopping import EarlyStopping
from criteo_stream.train.first_weights import take_first_weights
from criteo_stream.train.meters import RunningLoss
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.schedule import learning_rate_factor


@dataclass(kw_only=True)
class ActiveRun:
    """The run that a training loop drives."""

    config: ResolvedConfig
    data: CriteoDataset
    """This rank's share of the train split."""
    model: nn.Module
    random: RandomNumbers
    """What the model draws, apart from all else that the process draws."""
    optimizers: Optimizers
    loss: RunningLoss
    early_stopping: EarlyStopping
    step: int = 0
    """Steps done, over all epochs."""
    intercept: float = 0.0
    """What the latest evaluation adds to every logit that is given out; see `TrainState`."""

    @classmethod
    def begin(
        cls,
        config: ResolvedConfig,
        data: CriteoDataset,
        manifest: Manifest,
        ranks: Ranks,
        from_run: Path | None = None,
        *,
        trust_model: bool | str = False,
    ) -> "ActiveRun":
        """A run at its first step, with random weights or the best ones of another run.

        Raises:
            RunError: the weights of ``from_run`` do not fit the model.
        """
        if ranks.device.type == "cuda":
            torch.cuda.manual_seed(config.seed)  # for what a user's model draws there
            torch.cuda.reset_peak_memory_stats(ranks.device)
        random = RandomNumbers(config.seed)
        model = build_model(config, manifest, random).to(ranks.device)
        on_gpu = ranks.device.type == "cuda"
        # Ranks exchange look-ups of models that sum up their vectors, of others gradients.
        fuse = on_gpu and (ranks.world_size == 1 or isinstance(model, FM))
        optimizers = Optimizers(
            model,
            l2_linear=config.l2_linear,
            l2_embedding=config.l2_embedding,
            epsilon=config.epsilon,
            fuse=fuse,
            exchange=LookupExchange() if fuse and ranks.world_size > 1 else None,
        )
        if from_run is not None:
            take_first_weights(model, optimizers, from_run, manifest, trust_model=trust_model)
        return cls(
            config=config,
            data=data,
            model=model,
            random=random,
            optimizers=optimizers,
            loss=RunningLoss(ranks),
            early_stopping=EarlyStopping(config.metric, config.patience),
        )

    def drawing(self) -> AbstractContextManager[None]:
        """A block in which the model is called, as long as it learns."""
        return self.random.own() if may_draw(self.config) else nullcontext()

    @property
    def total_steps(self) -> int:
        """Steps of the whole plan."""
        return self.config.epochs * self.data.steps

    @property
    def rows(self) -> int:
        """Training rows seen, over all epochs and ranks."""
        return self.data.order.rows_after(self.step)

    def is_done(self) -> bool:
        """Whether the plan is done or patience has run out."""
        return self.step >= self.total_steps or self.early_stopping.exhausted

    def learning_rate(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        warmup = round(self.config.warmup * self.total_steps)
        return self.config.learning_rate * learning_rate_factor(step, self.total_steps, warmup)

    def checkpoint(self) -> Checkpoint:
        """Everything that later steps need; all ranks must call it."""
        state = TrainState(
            step=self.step,
            total_steps=self.total_steps,
            threads=torch.get_num_threads(),
            loss=self.loss.state(),
            best=self.early_stopping.best,
            waited=self.early_stopping.waited,
            data=self.data.identity,
            intercept=self.intercept,
        )
        return state.checkpoint(
            self.model.state_dict(), self.optimizers.state_tensors(), self.random.state
        )

    def restore(self, checkpoint: Checkpoint, where: Path) -> None:
        """Go to where a checkpoint stands.

        Args:
            checkpoint: of this run, saved on any number of ranks.
            where: its folder, for messages.

        Raises:
            RunError: it is of another model, data set or order, or misses something.
        """
        try:
            state = TrainState.of(checkpoint.state, where)
            load_weights(self.model, weights_in(checkpoint.tensors), where)
            self.optimizers.load_state_tensors(moments_in(checkpoint.tensors))
            self.random.load(random_state_in(checkpoint.tensors))
            epoch, batch = divmod(state.step, self.data.steps)
            self.data.load_state_dict(state.data | {"epoch": epoch, "batch": batch})
            self.loss.load_state(state.loss)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                f"the checkpoint {where} does not fit this run ({error}): start a new run"
            ) from None
        self.step, self.intercept = state.step, state.intercept
        self.early_stopping.best, self.early_stopping.waited = state.best, state.waited


def set_threads(
    execution: Execution, ranks: Ranks, checkpoint: Checkpoint | None, where: Path
) -> None:
    """Set the compute threads; sums over threads differ in bits with their number: a run keeps it.

    Raises:
        RunError: the checkpoint, in the folder ``where``, does not say how many it had.
    """
    threads = execution.threads
    if threads is None and checkpoint is not None:
        threads = TrainState.of(checkpoint.state, where).threads
    # A Python thread has a number of its own from the first question on; before, it would take
    # the one that another run sets meanwhile.
    torch.get_num_threads()
    torch.set_num_threads(threads or max(1, cores() // ranks.local_world_size))
