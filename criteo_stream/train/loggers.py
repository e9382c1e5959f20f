"""The loggers that ``--logger`` names."""

from collections.abc import Sequence

from criteo_stream.train.callbacks import Callback


def opened(names: Sequence[str], *, quiet: bool = False) -> list[Callback]:
    """A logger for each name.

    Raises:
        UsageError: what one of them needs is not installed.
    """
    found: list[Callback] = []
    for name in names:
        if name == "tensorboard":
            from criteo_stream.train.tensorboard_logger import TensorBoardLogger

            found.append(TensorBoardLogger())
        elif name == "mlflow":
            from criteo_stream.train.mlflow_logger import MlflowLogger

            found.append(MlflowLogger())
        else:
            from criteo_stream.train.wandb_logger import WandbLogger

            found.append(WandbLogger(quiet=quiet))
    return found
