"""One step of training: forward, the global batch's mean loss backward, update."""

import math
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.data.dataset import Batch


class Steps(Protocol):
    """Updates the parameters from their gradients."""

    def step(self) -> None:
        """Update all parameters."""

    def zero_grad(self) -> None:
        """Drop all gradients."""


class LossNotFiniteError(Exception):
    """A batch's loss is no number; nothing was updated."""

    def __init__(self, loss: float) -> None:
        super().__init__(f"the loss is {loss}")


def train_step(
    model: nn.Module,
    optimizers: Steps,
    batch: Batch,
    global_rows: int,
    world_size: int,
    logit_shift: float = 0.0,
) -> Tensor:
    """Train on this rank's rows of a global batch; a rank without rows takes part all the same.

    Args:
        model: numeric float32 [b, 13] and categorical int32 [b, 26] → logits [b]; under DDP wrapped
            so that gradients are averaged over the ranks.
        optimizers: of all its parameters, the learning rate set.
        batch: of b rows, on the model's device.
        global_rows: rows of the global batch, over all ranks.
        world_size: number of ranks.
        logit_shift: added to the logits, which are those of all rows, where negatives are thinned.

    Returns:
        The summed loss of the rows, float32 [], before the update. On a GPU nothing is read from
        it, so that the host does not wait: whoever adds it up must see whether it is finite.

    Raises:
        LossNotFiniteError: on the CPU, before anything is updated.
    """
    (numeric, categorical), label = batch
    logits = model(numeric, categorical)  # [b]
    if logit_shift:
        logits = logits + logit_shift
    loss_sum = F.binary_cross_entropy_with_logits(logits, label, reduction="sum")  # []
    # DDP averages gradients over ranks; this makes the average the global batch's mean.
    scaled: Tensor = loss_sum * (world_size / global_rows)
    scaled.backward()  # type: ignore[no-untyped-call]
    loss = loss_sum.detach()
    if loss.device.type == "cpu" and not math.isfinite(value := loss.item()):
        raise LossNotFiniteError(value)
    optimizers.step()
    optimizers.zero_grad()
    return loss
