"""The first weights of a run from another run's best: also where the vocabulary has grown since."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from criteo_stream.base.errors import RunError
from criteo_stream.data.manifest import Manifest
from criteo_stream.models.field_table import FieldLayout
from criteo_stream.predict.restore import categories_of, load_weights
from criteo_stream.predict.trust import refuse_untrusted_model
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.folder import RunFolder
from criteo_stream.runs.state import TrainState, moments_in, weights_in
from criteo_stream.sparse.table import table_zeros
from criteo_stream.train.optimizers import Optimizers

_BIAS: Final = "bias"
_TABLE: Final = "table.weight"
"""The one table of all ids, in every model; its moments have the name with a suffix."""


def take_first_weights(
    model: nn.Module,
    optimizers: Optimizers,
    from_run: Path,
    manifest: Manifest,
    *,
    trust_model: bool | str = False,
) -> None:
    """Begin with the best weights of another run, and with Adam's moments of them.

    Where the set's fit extends the run's, its rows keep weights and moments at their new places;
    new rows stay as they were initialised, their moments zero.

    Args:
        model: as initialised.
        optimizers: of the model, before their first step.
        from_run: folder of the other run.
        manifest: of the set to train on.
        trust_model: as for `load_run`.

    Raises:
        RunError: the folder is not a run, its weights do not fit the model, or its fit is not one
            that the set's extends.
    """
    folder = RunFolder(from_run)
    record = folder.read()
    refuse_untrusted_model(record.config.model, folder.path, trust_model=trust_model)
    if record.fit_fingerprint not in manifest.lineage:
        raise RunError(_other_fit(from_run, manifest.fit_fingerprint in record.lineage))
    checkpoint = CheckpointFolder(folder.checkpoints).load_best()
    weights, moments = weights_in(checkpoint.tensors), moments_in(checkpoint.tensors)
    if by := TrainState.of(checkpoint.state, folder.checkpoints).intercept:
        weights[_BIAS] = weights[_BIAS] + by
    if record.fit_fingerprint != manifest.fit_fingerprint:
        layout = getattr(getattr(model, "table", None), "layout", None)
        assert isinstance(layout, FieldLayout)
        before = FieldLayout(
            tuple(categories_of(record, manifest)), layout.numeric_columns, layout.bins
        )
        places = new_places(before, layout)
        fresh = model.state_dict()[_TABLE]
        weights = _grown(weights, places, {_TABLE: fresh.cpu()})
        zeros = table_zeros(len(fresh), fresh.shape[1])
        names = [name for name in moments if name.startswith(f"{_TABLE}.exp_avg")]
        moments = _grown(moments, places, dict.fromkeys(names, zeros))
    load_weights(model, weights, from_run)
    try:
        optimizers.load_state_tensors(moments)
    except ValueError as error:
        raise RunError(
            f"Adam's moments of {from_run} do not fit the model ({error}): start without --from"
        ) from None


def _other_fit(from_run: Path, is_older: bool) -> str:
    if is_older:
        return (
            f"the data set is older than {from_run}, which knows values that it does not: train on "
            "the set of that run or one that extends it, or start without --from"
        )
    return (
        f"the data set and that of {from_run} are not of one lineage: prepare it with --extend (or "
        "--fit-from) the set of that run, or start without --from"
    )


def new_places(before: FieldLayout, after: FieldLayout) -> Tensor:
    """Where the rows of a table are in a larger one: int64 [rows before]."""
    pairs = zip(before.sizes, after.offsets, strict=True)
    return torch.cat([torch.arange(size) + offset for size, offset in pairs])


def _grown(
    tensors: Mapping[str, Tensor], places: Tensor, larger: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The same tensors, those of the table with their rows at new places in larger ones.

    What has another shape than the table before stays as it is: then the run's model is another.
    """
    found = dict(tensors)
    for name, into in larger.items():
        old = tensors.get(name)
        if old is not None and old.shape == (len(places), into.shape[1]):
            found[name] = into.clone().index_copy_(0, places, old)
    return found
