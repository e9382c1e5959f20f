"""Whether a model that a file names by its import path may be imported: importing runs its code."""

import importlib.util
from itertools import accumulate
from pathlib import Path

from criteo_stream.base.errors import RunError
from criteo_stream.models.registry import look_in_current_folder


def refuse_untrusted_model(model: str, run: Path, *, trust_model: bool | str) -> None:
    """Refuse a model of a run's record that the user has not asked for.

    Args:
        model: as recorded: one of ours, or ``package.module:Class``.
        run: folder of the run; code in it is never imported.
        trust_model: whether the user trusts it, or the one model that the user named.

    Raises:
        RunError: it needs to be trusted, or its code is in the run's folder.
    """
    if ":" not in model:
        return
    if trust_model not in (True, model):
        raise RunError(
            f"{run} names the model {model}, whose code would be run: give --trust-model if you "
            "trust whoever made this run"
        )
    look_in_current_folder()
    module = model.partition(":")[0]
    for name in accumulate(module.split("."), "{}.{}".format):
        if any(place.is_relative_to(run.resolve()) for place in _places(name)):
            raise RunError(
                f"{run} names the model {model}, which is code in the run's own folder: a run is "
                "data and its code is never imported; move the module elsewhere if you trust it"
            )


def _places(module: str) -> list[Path]:
    """Files and folders that importing a module reads; its parents are imported, it is not."""
    try:
        spec = importlib.util.find_spec(module)
    except Exception:
        return []  # whoever imports it says why it cannot be
    if spec is None:
        return []
    places = [spec.origin, *(spec.submodule_search_locations or [])]
    return [Path(place).resolve() for place in places if place]
