"""The state of a run at a step, under the names that it has in a checkpoint.

Everything that a later step needs is here or in the weights and moments beside it, so that a
continued run is the same run. The position in the data is one number, the steps done; epoch and
batch follow from it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, TypeVar

from torch import Tensor

from criteo_stream.runs.checkpoint import Checkpoint
from criteo_stream.runs.history import HistoryLine

Value = TypeVar("Value")

_WEIGHT: Final = "model."
_MOMENT: Final = "optimizer."
_RANDOM_STATE: Final = "random_state"


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands; plain values."""

    step: int
    """Steps done, over all epochs."""
    total_steps: int
    """Steps of the whole plan."""
    threads: int
    """Compute threads of a rank: sums over them differ in bits with their number."""
    loss: list[list[float]]
    """Per rank: Σ loss and rows since the last evaluation."""
    best: HistoryLine | None
    """The best evaluation so far."""
    waited: int
    """Evaluations since then."""
    data: dict[str, object]
    """Data set and order that the steps go through: `CriteoDataset.identity`."""

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
        return Checkpoint(tensors | {_RANDOM_STATE: random_state}, asdict(self))

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Undo `checkpoint`, from the state that it holds.

        Raises:
            KeyError, TypeError, ValueError: something is missing, or is of another kind.
        """
        if "waited" not in state:  # written by version 1
            state = {**state, **state["best"]}
        best = state["best"] and HistoryLine.from_dict(state["best"])
        return cls(**{**state, "best": best})


def weights_in(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The model's tensors among those of a checkpoint, by the model's own names."""
    return _below(_WEIGHT, tensors)


def moments_in(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The optimizers' tensors among those of a checkpoint, by their own names."""
    return _below(_MOMENT, tensors)


def random_state_in(tensors: Mapping[str, Tensor]) -> Tensor:
    """The random state among the tensors of a checkpoint."""
    return tensors[_RANDOM_STATE]


def _below(prefix: str, tensors: Mapping[str, Value]) -> dict[str, Value]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
