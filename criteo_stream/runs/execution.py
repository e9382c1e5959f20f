"""The options of training that only say how it is executed."""

import difflib
from pathlib import Path
from typing import Final, Literal, TypedDict

from criteo_stream.base.devices import DeviceName
from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import option, options

LOGGERS: Final = ("tensorboard", "mlflow", "wandb")
"""Where figures can be sent; each is an extra of the package."""
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
    logger: tuple[str, ...] = option(
        default=(),
        help="Send options and figures to tensorboard, mlflow or wandb; may be given several "
        "times.",
    )
    tensorboard: bool = option(default=False, help="The same as --logger tensorboard.")
    quiet: bool = option(default=False, help="Show no progress.")

    def check_together(self) -> None:
        """Refuse loggers that are not known."""
        for name in self.logger:
            if name not in LOGGERS:
                near = difflib.get_close_matches(name, LOGGERS, 1)
                raise UsageError(
                    f"--logger {name} is not known{f' (did you mean {near[0]}?)' if near else ''}: "
                    f"use {', '.join(LOGGERS)}"
                )

    @property
    def loggers(self) -> list[str]:
        """Names of the loggers asked for, each once."""
        asked = {*self.logger, *(["tensorboard"] if self.tensorboard else [])}
        return [name for name in LOGGERS if name in asked]


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
    logger: list[str] | tuple[str, ...]
    tensorboard: bool
    quiet: bool
