"""From a run folder back to a model: its best weights, and the data set that they belong to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import nn

from criteo_stream.checkpoint import CheckpointFolder
from criteo_stream.config import TrainConfig
from criteo_stream.errors import DataSetError, RunError
from criteo_stream.manifest import Manifest
from criteo_stream.models import build_model
from criteo_stream.run import RunFolder

MODEL_PREFIX: Final = "model."
"""Of the model's tensors in a checkpoint."""


@dataclass(frozen=True)
class LoadedRun:
    """A run's best weights and what they were trained on."""

    model: nn.Module
    config: TrainConfig
    data: Path
    """A data set with the run's fit."""
    manifest: Manifest
    step: int


def load_run(run: Path | str, data: Path | str | None = None) -> LoadedRun:
    """Load the best weights of a run.

    Args:
        run: folder of the run.
        data: a data set with the same fit; default the one that the run was trained on.

    Raises:
        RunError: the folder is not a run, or has no sound best checkpoint.
        DataSetError: the data set is missing, incomplete, or of another fit.
    """
    folder = RunFolder(run)
    record = folder.read()
    path = Path(data or record.data)
    try:
        manifest = Manifest.read(path)
    except DataSetError as error:
        if data is not None:
            raise
        raise DataSetError(f"{error}; if the set has moved, say where with --data") from None
    if manifest.fit_fingerprint != record.fit_fingerprint:
        raise DataSetError(
            f"{path} was encoded with another fit ({manifest.fit_fingerprint}) than the run's data "
            f"set ({record.fit_fingerprint}): prepare it with --fit-from {record.data}"
        )
    checkpoint = CheckpointFolder(folder.checkpoints).load_best()
    model = build_model(record.config, manifest)
    weights = {
        name.removeprefix(MODEL_PREFIX): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(MODEL_PREFIX)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{folder.path} does not fit its own configuration: {error}") from None
    return LoadedRun(model, record.config, path, manifest, checkpoint.state["step"])
