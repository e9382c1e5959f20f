"""The task of a preparation: recorded when it begins, compared when it continues or is repeated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from criteo_stream import __version__
from criteo_stream.base.as_typed import changed_option
from criteo_stream.base.errors import OutputError
from criteo_stream.base.options import declared, to_dict
from criteo_stream.base.records import checksum_of, first_difference
from criteo_stream.base.schema import FORMAT_VERSION
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.options import PrepareOptions
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.layouts import Layout


def task_of(
    options: PrepareOptions, inputs: Sequence[RawInput], layout: Layout
) -> dict[str, object]:
    """All that decides the output; work is reused only where it is the same.

    The manifest records it as ``options``.

    Raises:
        DataSetError: the set of ``fit_from`` is incomplete or damaged, or that of ``extend``.
    """
    task = {
        "format": FORMAT_VERSION,
        "package_version": __version__,
        "inputs": [str(source.identity) for source in inputs],
        **to_dict(options),
        "layout": layout.name,
    }
    if options.keep_negatives == 1:  # the same bytes as before there was the option
        del task["keep_negatives"]
    if options.fit_from is not None:  # the set may move, its fit may not change
        task["fit_from"] = Manifest.read(options.fit_from).fit_fingerprint
    if options.extend is not None:
        task["extend"] = identity_of_fit(Manifest.read(options.extend))
    return task


def identity_of_task(task: dict[str, object]) -> str:
    """Identity of all that decides the output: not the package's version, but its formats."""
    return checksum_of({key: value for key, value in task.items() if key != "package_version"})


def identity_of_fit(manifest: Manifest) -> str:
    """Identity of a fit that is extended: what it encodes with, and all that it counted."""
    counts = [entry.crc32 for entry in manifest.count_files]
    return checksum_of({"fit": manifest.fit_fingerprint, "counts": counts})


def refuse_other_task(out: Path, found: dict[str, object], wanted: dict[str, object]) -> None:
    """Compare what a folder was begun with to what is asked for.

    Raises:
        OutputError: names the first option that differs, with both values.
    """
    found, wanted = (
        # What version began it is no matter while formats are the same, and a task that keeps all
        # negatives does not say so.
        task | {"package_version": None, "keep_negatives": task.get("keep_negatives", 1.0)}
        for task in (found, wanted)
    )
    if key := first_difference(found, wanted):
        raise _other(out, key, found.get(key), wanted.get(key))


def refuse_other_set(out: Path, found: dict[str, object], wanted: dict[str, object]) -> None:
    """Compare what a finished set was made with to what is asked for.

    What it left at a default of today is no matter, nor the order of the inputs where no split goes
    by it.

    Raises:
        OutputError: names the first option that differs, with both values.
    """
    defaults = {
        name: list(option.default) if isinstance(option.default, tuple) else option.default
        for name, option in declared(PrepareOptions).items()
    }
    found = {**defaults, **found}
    if wanted["split"] != "tail" and _same_but_for_order(found.get("inputs"), wanted["inputs"]):
        found["inputs"] = wanted["inputs"]
    refuse_other_task(out, found, wanted)


def _same_but_for_order(found: Any, wanted: Any) -> bool:
    return isinstance(found, list | tuple) and sorted(map(repr, found)) == sorted(map(repr, wanted))


def _other(out: Path, key: str, found: Any, wanted: Any) -> OutputError:
    then = "give the same again, choose another --out, or start over with --restart"
    if key == "inputs" and _same_but_for_order(found, wanted):
        names = ", ".join(Path(path).name for path in found)
        return OutputError(f"{out} was begun with its inputs in the order {names}: {then}")
    known = declared(PrepareOptions)
    if key in ("fit_from", "extend"):  # recorded is the fit, wherever its set is
        if found and wanted:
            return OutputError(f"{out} was begun with another fit for {known[key].flag}: {then}")
        found, wanted = bool(found), bool(wanted)
    if key in known:
        return OutputError(
            f"{out} was begun {changed_option(known[key].flag, found, wanted)}: {then}"
        )
    return OutputError(
        f"{out} was begun with other {key} ({_shown(found)}, now {_shown(wanted)}): {then}"
    )


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) < 200 else text[:200] + "…"
