"""The state of a run at a step, under the names that it has in a checkpoint.

Everything that a later step needs is here or in the weights and moments beside it, so that a
continued run is the same run. The position in the data is one number, the steps done; epoch and
batch follow from it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Self, TypeVar

from msgspec import Meta
from torch import Tensor

from criteo_stream.base.errors import RunError
from criteo_stream.base.records import Count, Number, Positive, RecordError, from_plain
from criteo_stream.runs.checkpoint import Checkpoint
from criteo_stream.runs.history import HistoryLine

Value = TypeVar("Value")

_Pair = Annotated[list[Annotated[float, Meta(ge=0, le=1e308)]], Meta(min_length=2, max_length=2)]
_WEIGHT: Final = "model."
_MOMENT: Final = "optimizer."
_RANDOM_STATE: Final = "random_state"


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands; plain values."""

    step: Count
    """Steps done, over all epochs."""
    total_steps: Positive
    """Steps of the whole plan."""
    threads: Annotated[int, Meta(ge=1, le=2**16)]
    """Compute threads of a rank: sums over them differ in bits with their number."""
    loss: Annotated[list[_Pair], Meta(min_length=1)]
    """Per rank: Σ loss and rows since the last evaluation."""
    best: HistoryLine | None
    """The best evaluation so far."""
    waited: Count
    """Evaluations since then."""
    data: dict[str, object]
    """Data set and order that the steps go through: `CriteoDataset.identity`."""
    intercept: Number = 0.0
    """Added to every logit that is given out, not in training: set by the valid split of a thinned
    set, so that as many clicks are predicted as came there."""

    def __post_init__(self) -> None:
        """Refuse what no run comes to."""
        if self.step > self.total_steps:
            raise ValueError(f"step {self.step:,} of {self.total_steps:,}")
        if self.best is not None and self.best.step > self.step:
            raise ValueError(f"the best evaluation is at step {self.best.step:,}, not yet reached")

    def checkpoint(
        self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], random_state: Tensor
    ) -> Checkpoint:
        """The state as a checkpoint.

        Args:
            weights: the model's parameters and buffers by name.
            moments: the optimizers' state, by parameter and name.
            random_state: of PyTorch's generator on the CPU.
        """
        tensors = {_WEIGHT + name: tensor for name, tensor in weights.items()}
        tensors |= {_MOMENT + name: tensor for name, tensor in moments.items()}
        state = asdict(self)
        if not self.intercept:  # the same bytes as before there was one
            del state["intercept"]
        return Checkpoint(tensors | {_RANDOM_STATE: random_state}, state)

    @classmethod
    def of(cls, state: object, where: Path) -> Self:
        """Undo `checkpoint`, from the state that it holds.

        Args:
            state: plain values.
            where: they are from, for messages.

        Raises:
            RunError: something is missing, of another kind, or cannot be.
        """
        if isinstance(state, dict) and "waited" not in state:  # written by version 1
            best = state.get("best")
            state = {**state, **(best if isinstance(best, dict) else {})}
        try:
            return from_plain(state, cls)
        except RecordError as error:
            raise RunError(
                f"the state of the checkpoint {where} is damaged ({error}): start a new run"
            ) from None


def weights_in(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The model's tensors among those of a checkpoint, by the model's own names."""
    return _below(_WEIGHT, tensors)


def moments_in(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The optimizers' tensors among those of a checkpoint, by their own names."""
    return _below(_MOMENT, tensors)


def verify_checkpoint(checkpoint: Checkpoint, where: Path) -> None:
    """Refuse a checkpoint that no training writes, as far as that shows without its model.

    Raises:
        RunError: its state cannot be; or a weight and its moments are of several types or shapes,
            or not finite.
    """
    TrainState.of(checkpoint.state, where)
    weights, moments = weights_in(checkpoint.tensors), moments_in(checkpoint.tensors)
    for name, weight in weights.items():
        for moment in (moments.get(f"{name}.{kind}") for kind in ("exp_avg", "exp_avg_sq")):
            if moment is None:
                continue  # a buffer, or a weight that was never trained
            if (weight.dtype, weight.shape) != (moment.dtype, moment.shape):
                raise RunError(
                    f"{where} is no checkpoint of a training: {name} is {weight.dtype} "
                    f"{list(weight.shape)}, its moments are {moment.dtype} {list(moment.shape)}"
                )
            if not (weight.isfinite().all() and moment.isfinite().all()):
                raise RunError(f"{where} is no checkpoint of a training: {name} is not finite")


def random_state_in(tensors: Mapping[str, Tensor]) -> Tensor:
    """The random state among the tensors of a checkpoint."""
    return tensors[_RANDOM_STATE]


def _below(prefix: str, tensors: Mapping[str, Value]) -> dict[str, Value]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
