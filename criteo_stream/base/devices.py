"""Which device computes: the CPU or a GPU."""

from typing import TYPE_CHECKING, Literal, get_args

from criteo_stream.base.errors import UsageError
from criteo_stream.base.spelling import not_known

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda"]
"""A GPU where there is one; the CPU; or a GPU, and nothing else will do."""


def find_device(name: str = "auto", local_rank: int = 0) -> "torch.device":
    """The device of a rank.

    Args:
        name: a `DeviceName`.
        local_rank: number of the rank among those on this machine, which share its GPUs.

    Raises:
        UsageError: no such name, or there is no GPU.
    """
    import torch

    if name not in get_args(DeviceName):
        raise UsageError(not_known("--device", name, get_args(DeviceName)))
    gpus = torch.cuda.device_count() if name != "cpu" and torch.cuda.is_available() else 0
    if name == "cuda" and not gpus:
        raise UsageError(
            "--device cuda: PyTorch finds no GPU here; install a build of it for CUDA where there "
            "is one, or use --device cpu"
        )
    return torch.device("cuda", local_rank % gpus) if gpus else torch.device("cpu")
