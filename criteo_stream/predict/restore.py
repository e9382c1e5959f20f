"""From a run folder back to a model: its best weights, and the data set that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from criteo_stream.base.errors import DataSetError, RunError
from criteo_stream.base.paths import user_path
from criteo_stream.data.manifest import Manifest
from criteo_stream.models import build_model
from criteo_stream.runs.checkpoint import CheckpointFolder
from criteo_stream.runs.config import ResolvedConfig
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.state import TrainState, weights_in


@dataclass(frozen=True)
class LoadedRun:
    """A run's best weights and what they were trained on."""

    model: nn.Module
    config: ResolvedConfig
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
    path = user_path(data or record.data)
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
    load_weights(model, weights_in(checkpoint.tensors), folder.path)
    return LoadedRun(model, record.config, path, manifest, TrainState.of(checkpoint.state).step)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into a model; ``where`` they are from is for messages.

    Raises:
        RunError: they are another model's.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"the weights of {where} do not fit the model: {reason}") from None
