"""The options of training that only say how it is executed."""

from pathlib import Path
from typing import Final, Literal, TypedDict

from criteo_stream.base.devices import DeviceName
from criteo_stream.base.options import option, options

CacheName = Literal["auto", "device", "host", "none"]

_MOST_THREADS: Final = 1024
"""The library of threads ends the process where it cannot start as many as it is told to."""


@options
class Execution:
    """How training is executed.

    But for ``from_run`` the weights do not depend on it, except for rounding on another ``device``.
    """

    from_run: Path | None = option(
        default=None,
        help="Start from the best weights of this run, with Adam's moments of them. The data set "
        "may extend that run's: the tables then grow.",
        chosen_by="random weights",
        flag="from",
    )
    device: DeviceName = option(
        default="auto", help="Compute on this device; auto takes a GPU where there is one."
    )
    trust_model: bool = option(
        default=False,
        help="Import the model that the run of --from, or the file of --config, names by its path.",
    )
    checkpoint_every: int = option(
        default=0,
        help="Save a checkpoint every so many training rows; each evaluation ends in one too.",
        at_least=0,
        in_rows=True,
    )
    checkpoint_minutes: float = option(
        default=10.0,
        help="Save a checkpoint every so many minutes; 0 saves by rows and evaluations only.",
        at_least=0,
    )
    keep: int = option(
        default=2, help="Keep this many of the latest checkpoints, beside the best.", at_least=1
    )
    workers: int = option(
        default=1, help="Read with this many loader threads per rank; 0 reads inline.", at_least=0
    )
    cache: CacheName = option(
        default="auto",
        help="Read the training rows once and keep them in the memory of the device or the host; "
        "auto keeps them on a GPU where they fit well.",
    )
    threads: int | None = option(
        default=None,
        help="Compute with this many threads per rank.",
        chosen_by="cores / ranks",
        at_least=1,
        at_most=_MOST_THREADS,
    )
    tensorboard: bool = option(
        default=False, help="Write TensorBoard's event files into RUN/tensorboard."
    )
    quiet: bool = option(default=False, help="Show no progress.")


class ExecutionKeywords(TypedDict, total=False):
    """The options of `Execution` as keywords of a call; a test keeps the two alike."""

    from_run: Path | str | None
    device: DeviceName
    trust_model: bool
    checkpoint_every: int
    checkpoint_minutes: float
    keep: int
    workers: int
    cache: CacheName
    threads: int | None
    tensorboard: bool
    quiet: bool
