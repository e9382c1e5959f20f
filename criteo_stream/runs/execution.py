"""The options of training that only say how it is executed."""

from pathlib import Path
from typing import Final, Literal, TypedDict

from criteo_stream.base.devices import DeviceName
from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import option, options
from criteo_stream.base.spelling import not_known

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
        help="Start from the best weights of this run and their Adam moments. If the data set "
        "extends that run's, the tables grow.",
        chosen_by="random weights",
        flag="from",
        panel="Model",
    )
    device: DeviceName = option(
        default="auto",
        help="Compute on this device; auto uses a GPU if there is one.",
        panel="Performance",
    )
    trust_model: bool = option(
        default=False,
        help="Allow importing your own model that the run of --from or the file of --config names.",
        panel="Model",
    )
    checkpoint_every: int = option(
        default=0,
        help="Also save a checkpoint after every ROWS training rows; each evaluation saves one.",
        at_least=0,
        in_rows=True,
        panel="Checkpoints",
    )
    checkpoint_minutes: float = option(
        default=10.0,
        help="Also save a checkpoint every X minutes; 0 turns this off.",
        at_least=0,
        panel="Checkpoints",
    )
    keep: int = option(
        default=2,
        help="Keep the latest N checkpoints, besides the best one.",
        at_least=1,
        panel="Checkpoints",
    )
    workers: int = option(
        default=1,
        help="Load with N threads per rank; 0 loads in the training thread.",
        at_least=0,
        panel="Performance",
    )
    cache: CacheName = option(
        default="auto",
        help="Keep the training rows in the memory of the device or the host after reading them "
        "once; auto keeps them on a GPU if they fit.",
        panel="Performance",
    )
    threads: int | None = option(
        default=None,
        help="Compute with N threads per rank.",
        chosen_by="cores / ranks",
        at_least=1,
        at_most=_MOST_THREADS,
        panel="Performance",
    )
    logger: tuple[str, ...] = option(
        default=(),
        help="Send options and figures to tensorboard, mlflow or wandb; may be given several "
        "times.",
        panel="Evaluation",
    )
    tensorboard: bool = option(
        default=False, help="The same as --logger tensorboard.", panel="Evaluation"
    )
    quiet: bool = option(default=False, help="Show no progress.")

    def check_together(self) -> None:
        """Refuse loggers that are not known."""
        for name in self.logger:
            if name not in LOGGERS:
                raise UsageError(not_known("--logger", name, LOGGERS))

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
