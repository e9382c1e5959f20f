"""The task of a preparation: recorded when it begins, compared when it continues or is repeated."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from criteo_stream import __version__
from criteo_stream.base.errors import OutputError
from criteo_stream.base.options import to_dict
from criteo_stream.base.schema import FORMAT_VERSION
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.inputs import RawInput
from criteo_stream.prepare.layouts import Layout
from criteo_stream.prepare.options import PrepareOptions


def task_of(
    options: PrepareOptions, inputs: Sequence[RawInput], layout: Layout
) -> dict[str, object]:
    """All that decides the output; work is reused only where it is the same.

    The manifest records it as ``options``.

    Raises:
        DataSetError: the set of ``fit_from`` is incomplete or damaged.
    """
    task = {
        "format": FORMAT_VERSION,
        "package_version": __version__,
        "inputs": [given_path(source.path) for source in inputs],
        **to_dict(options),
        "layout": layout.name,
    }
    if options.fit_from is not None:  # the set may move, its fit may not change
        task["fit_from"] = Manifest.read(options.fit_from).fit_fingerprint
    return task


def refuse_other_task(out: Path, found: dict[str, object], wanted: dict[str, object]) -> None:
    """Compare what a folder was made with to what is asked for.

    Raises:
        OutputError: names the first option that differs, with both values.
    """
    for key in [*wanted, *(k for k in found if k not in wanted)]:
        if found.get(key) != wanted.get(key):
            raise OutputError(
                f"{out} was begun with {key} = {_shown(found.get(key))}, now it is "
                f"{_shown(wanted.get(key))}: give the same again, choose another --out, "
                "or start over with --restart"
            )


def given_path(path: str | Path) -> str:
    """A path as the manifest records it: absolute, so that it means the same from anywhere."""
    return str(Path(path).resolve())


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 200 else text[:200] + "…"
