"""Which models there are, by name, and how one is made: ours, or a user's by its import path.

A new model of ours is a class in a file of this folder, a line in `MODELS`, and its name in
`criteo_stream.runs.model_names.MODEL_NAMES`, which is known without loading PyTorch.
"""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from criteo_stream.base.errors import UsageError
from criteo_stream.base.random_numbers import RandomNumbers
from criteo_stream.base.schema import FEATURE_COLUMNS
from criteo_stream.base.spelling import nearest
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.thinning import click_rate
from criteo_stream.models.bilinear import BilinearFFM
from criteo_stream.models.deepfm import DeepFM
from criteo_stream.models.ffm import FFM
from criteo_stream.models.fibinet import FiBiNET
from criteo_stream.models.field_model import FieldModel
from criteo_stream.models.fm import FM
from criteo_stream.models.inputs import InputOptions
from criteo_stream.models.logistic import LinearOnly
from criteo_stream.models.protocol import vectors_per_id
from criteo_stream.runs.config import ResolvedConfig
from criteo_stream.runs.model_names import refuse_unknown_model

MODELS: Final[dict[str, type[nn.Module]]] = {
    "fm": FM,
    "lr": LinearOnly,
    "ffm": FFM,
    "bilinear-ffm": BilinearFFM,
    "deepfm": DeepFM,
    "fibinet": FiBiNET,
}
"""All but FM, which has a path of its own, are interactions for a `FieldModel`."""

FIELDS: Final = len(FEATURE_COLUMNS)


def build_model(
    config: ResolvedConfig,
    manifest: Manifest,
    random: RandomNumbers | None = None,
    *,
    categories: list[int] | None = None,
) -> nn.Module:
    """The model that a configuration asks for, sized by a data set.

    Args:
        config: of the run.
        manifest: of the data set.
        random: draws the initial weights; default a sequence that the run's seed begins.
        categories: size of the id space of C1..C26; default the data set's.

    Raises:
        UsageError: no such model, or a user's that does not keep to the protocol.
    """
    options = InputOptions(
        numeric=config.numeric,
        bins=config.bins,
        numeric_mean=[column.mean_quantile for column in manifest.numeric],
        init_scale=config.init_scale,
        click_rate=click_rate(manifest),
        validate_ids=False,  # shards and vocabularies have been compared with the table's sizes
    )
    sizes = len(manifest.numeric), categories or manifest.categories, config.embedding_dim
    model = find_model(config.model)
    with (random or RandomNumbers(config.seed)).own():
        if model is FM:
            return FM(*sizes, **options)
        return FieldModel(*sizes, _interaction(model, config), **options)


def may_draw(config: ResolvedConfig) -> bool:
    """Whether a model may draw random numbers in a step: a user's, by dropout for instance."""
    return config.model not in MODELS


def check_model(config: ResolvedConfig) -> None:
    """Refuse a model that `build_model` would refuse.

    Raises:
        UsageError: no such model, or a user's that does not keep to the protocol.
    """
    if (model := find_model(config.model)) is not FM:
        with RandomNumbers(config.seed).own():
            _interaction(model, config)


def find_model(name: str) -> type[nn.Module]:
    """The class of a model's name, or at an import path ``package.module:Class``.

    Raises:
        UsageError: there is none.
    """
    refuse_unknown_model(name)
    return MODELS[name] if name in MODELS else _imported(name)


def look_in_current_folder() -> None:
    """Let a user's own modules be found where the command is given; a console script does not."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def _imported(path: str) -> type[nn.Module]:
    module_name, _, name = path.partition(":")
    look_in_current_folder()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(f"--model {path}: {module_name} cannot be imported: {error}") from None
        raise UsageError(
            f"--model {path}: there is no module {error.name} where Python looks for it, nor in "
            "the current folder"
        ) from None
    except Exception as error:
        raise UsageError(
            f"--model {path}: {module_name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        near = nearest(name, vars(module)) if found is None else None
        raise UsageError(
            f"--model {path}: {module_name} has no torch.nn.Module class {name!r}"
            + (f" (did you mean {near}?)" if near else "")
        )
    return found


def _interaction(model: type[nn.Module], config: ResolvedConfig) -> nn.Module:
    """An interaction, given ``fields`` and those of the run's options that its signature names.

    Raises:
        UsageError: it needs something else, or does not turn embeddings into logits.
    """
    known: dict[str, Any] = config.to_dict() | {"fields": FIELDS, "hidden": config.hidden_sizes}
    parameters = inspect.signature(model).parameters.values()
    for p in parameters:
        if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) or (
            p.name not in known and p.default is p.empty and p.kind is not p.VAR_KEYWORD
        ):
            raise UsageError(
                f"--model {config.model}: its argument {p.name!r} is not one that can be given "
                "by name: fields, embedding_dim, or another option of training"
            )
    given = {p.name: known[p.name] for p in parameters if p.name in known}
    try:
        interaction = model(**given)
        _try(interaction, config)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"--model {config.model} with {given}: {type(error).__name__}: {error}"
        ) from error
    return interaction


def _try(interaction: nn.Module, config: ResolvedConfig) -> None:
    """Let it turn embeddings into logits, without a trace in weights or random numbers."""
    training = interaction.training
    interaction.eval()
    for rows in (2, 0):  # a rank can be without rows
        embeddings = torch.zeros(rows, FIELDS, config.embedding_dim * vectors_per_id(interaction))
        if embeddings.is_meta:
            break
        with torch.no_grad():
            logits = interaction(embeddings)
        found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if found != [rows]:
            raise UsageError(
                f"--model {config.model}: from embeddings {list(embeddings.shape)} it makes "
                f"{found}, expected [{rows}]: one logit per row"
            )
    interaction.train(training)
