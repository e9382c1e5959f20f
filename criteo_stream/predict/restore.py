"""From a run folder back to a model: its best weights, and the data set that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from criteo_stream.base.errors import DataSetError, RunError
from criteo_stream.base.paths import user_path
from criteo_stream.data.manifest import Manifest
from criteo_stream.models import build_model
from criteo_stream.models.inputs import FieldInputs
from criteo_stream.models.known_ids import KnownIds
from criteo_stream.predict.trust import refuse_untrusted_model
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.config import ResolvedConfig
from criteo_stream.runs.config_file import RunRecord
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.state import TrainState, weights_in


@dataclass(frozen=True)
class LoadedRun:
    """A run's best weights and what they were trained on."""

    model: nn.Module
    config: ResolvedConfig
    data: Path
    """A data set of the run's fit or its lineage."""
    manifest: Manifest
    step: int
    data_fingerprint: str
    """Of the data set that the run was trained on."""


def load_run(
    run: Path | str,
    data: Path | str | None = None,
    *,
    trust_model: bool | str = False,
    own_fit: bool = False,
    all_values: bool = False,
) -> LoadedRun:
    """Load the best weights of a run, as probabilities are to be made with them.

    On a set whose fit extends the run's, the model takes ids that it never had for OOV.

    Args:
        run: folder of the run.
        data: a data set with the same fit, or one of its lineage; default the one that the run was
            trained on.
        trust_model: whether a model by its import path, which is code of whoever made the run, may
            be imported; or the only one that may.
        own_fit: refuse sets of another generation.
        all_values: refuse older ones, which lack values that the run knows.

    Raises:
        RunError: the folder is not a run, has no sound best checkpoint, or names a model that is
            not trusted.
        DataSetError: the data set is missing, incomplete, or of another fit.
    """
    folder = RunFolder(run)
    record = folder.read()
    refuse_untrusted_model(record.config.model, folder.path, trust_model=trust_model)
    path = user_path(data or record.data)
    try:
        manifest = Manifest.read(path)
    except DataSetError as error:
        if data is not None:
            raise
        raise DataSetError(f"{error}; if the set has moved, say where with --data") from None
    is_same = manifest.fit_fingerprint == record.fit_fingerprint
    is_related = (
        record.fit_fingerprint in manifest.lineage or manifest.fit_fingerprint in record.lineage
    )
    if not is_same and (own_fit or not is_related):
        raise DataSetError(
            f"{path} was encoded with another fit ({manifest.fit_fingerprint}) than the run's data "
            f"set ({record.fit_fingerprint}): prepare it with --fit-from {record.data}"
        )
    if all_values and record.fit_fingerprint not in manifest.lineage:
        raise DataSetError(
            f"{path} is older than the run and lacks values that it knows: leave out --data, or "
            "give a set of the run's fit or a newer one"
        )
    checkpoint = CheckpointFolder(folder.checkpoints).load_best()
    state = TrainState.of(checkpoint.state, folder.checkpoints)
    categories = categories_of(record, manifest)
    model = build_model(record.config, manifest, categories=categories)
    load_weights(model, weights_in(checkpoint.tensors), folder.path)
    if state.intercept:
        assert isinstance(model, FieldInputs)
        with torch.no_grad():
            model.bias.add_(state.intercept)
    if any(now > known for now, known in zip(manifest.categories, categories, strict=True)):
        model = KnownIds(model, categories)
    return LoadedRun(model, record.config, path, manifest, state.step, record.fingerprint)


def categories_of(record: RunRecord, manifest: Manifest) -> list[int]:
    """Size of the id space of C1..C26 in a run's tables.

    Args:
        record: of the run.
        manifest: of a set of its lineage.

    Raises:
        DataSetError: the run did not record it, and the set that it was trained on is gone.
    """
    if manifest.fit_fingerprint == record.fit_fingerprint:
        return manifest.categories
    if record.categories:
        return record.categories
    own = Manifest.read(Path(record.data))
    if own.fit_fingerprint != record.fit_fingerprint:
        raise DataSetError(f"{record.data} is no longer the set that the run was trained on")
    return own.categories


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into a model; ``where`` they are from is for messages.

    Raises:
        RunError: they are another model's, or not finite.
    """
    expected = model.state_dict()
    for name, tensor in weights.items():
        if name in expected and tensor.dtype != expected[name].dtype:
            raise RunError(
                f"the weights of {where} do not fit the model: {name} is {tensor.dtype}, expected "
                f"{expected[name].dtype}"
            )
        if not tensor.isfinite().all():
            raise RunError(f"the weights of {where} are not finite ({name}): start a new run")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"the weights of {where} do not fit the model: {reason}") from None
