"""Describe a raw file, a data set or a run, as figures and as text."""

import math
from pathlib import Path
from typing import NamedTuple

from criteo_stream.base.amounts import counted, format_size
from criteo_stream.base.errors import CriteoStreamError, InputError
from criteo_stream.base.options import declared
from criteo_stream.base.paths import user_path
from criteo_stream.base.schema import SPLITS
from criteo_stream.base.terminal import wrapped
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.thinning import negatives_kept
from criteo_stream.report.text_table import table
from criteo_stream.runs.config import ResolvedConfig, TrainConfig, flag
from criteo_stream.runs.folder import CONFIG_NAME, RunFolder

_MAIN_OPTIONS = ("numeric", "seed")


class Inspection(NamedTuple):
    """The description of a path."""

    figures: dict[str, object]
    """Plain values by name, as ``--json`` prints them."""
    lines: list[str]
    """For a person."""


def inspect(path: Path | str, *, verify: bool = False) -> Inspection:
    """Look at a path of any of the three kinds.

    Args:
        path: a raw file, a member of an archive, a data set's folder or a run's folder.
        verify: check every checksum, and that every value can be one.

    Raises:
        CriteoStreamError: the path is none of them, or a file in it is damaged: names it.
    """
    path = user_path(path)
    if not path.exists() and "::" not in str(path):  # a member of an archive
        raise InputError(f"no such file or folder: {path}")
    if not path.is_dir():
        from criteo_stream.report.raw_log import describe_raw

        return Inspection(*describe_raw(path))
    if (path / CONFIG_NAME).exists():
        return _inspect_run(path, verify=verify)
    data = DataFolder(path)
    if data.manifest.exists() or data.work.exists() or not any(path.iterdir()):
        return _inspect_data(path, verify=verify)
    raise CriteoStreamError(
        f"{path} is neither a data set (no {data.manifest.name}) nor a run (no {CONFIG_NAME}); "
        "for raw logs name one file"
    )


def _inspect_data(path: Path, *, verify: bool) -> Inspection:
    from criteo_stream.raw.malformed import count_listed

    manifest = Manifest.read(path)
    if verify:
        from criteo_stream.report.verification import verify_data_set

        verify_data_set(path, manifest)
    ranked, rows_counted = max(1, manifest.rows_ranked), max(1, manifest.rows_counted)
    splits = {
        split: {
            "rows": sum(s.rows for s in manifest.shards[split]),
            "positives": sum(s.positives for s in manifest.shards[split]),
            "shards": len(manifest.shards[split]),
            "bytes": sum(s.bytes for s in manifest.shards[split]),
        }
        for split in SPLITS
    }
    columns: list[dict[str, object]] = [
        {"column": c.column, "missing": c.missing / ranked, "distinct": c.distinct,
         "minimum": c.minimum, "maximum": c.maximum, "mean": c.mean, "rank_error": c.rank_error}
        for c in manifest.numeric
    ]  # fmt: skip
    columns += [
        {"column": c.column, "missing": c.missing / rows_counted, "distinct": c.distinct,
         "ids": c.ids, "oov": c.oov / rows_counted}
        for c in manifest.categorical
    ]  # fmt: skip
    listed = count_listed(DataFolder(path).rejected)
    figures = {
        "kind": "data",
        "fingerprint": manifest.fingerprint,
        "layout": manifest.layout,
        "rows": manifest.rows,
        "rejected_listed": listed,
        "splits": splits,
        "columns": columns,
        "lineage": manifest.lineage,
        "verified": len(manifest.files()) if verify else 0,
    }
    thinned = ""
    if manifest.thinned:
        kept = f"{negatives_kept(manifest):.2%} of them kept"
        thinned = f", {manifest.thinned:,} negatives of the training split thinned ({kept})"
    text = [
        f"{path}: data set {manifest.fingerprint}, layout {manifest.layout}, "
        f"{counted(manifest.rows['read'], 'line')} read, {manifest.rows['rejected']:,} rejected"
        + (f" ({listed:,} of them listed in rejected.jsonl)" if manifest.rows["rejected"] else "")
        + thinned,
        "",
        *table(
            ("split", "rows", "click rate", "shards", "size", "bytes/row"),
            [
                (s, f"{f['rows']:,}", _share(f["positives"], f["rows"]), str(f["shards"]),
                 format_size(f["bytes"]), f"{f['bytes'] / max(1, f['rows']):.1f}")
                for s, f in splits.items()
            ],
        ),
        "",
        *table(
            ("column", "missing", "distinct", "minimum", "mean", "maximum"),
            [
                (c.column, f"{c.missing / ranked:.2%}", f"{c.distinct:,}", _number(c.minimum),
                 _number(c.mean), _number(c.maximum))
                for c in manifest.numeric
            ],
        ),
        "",
        *table(
            ("column", "missing", "distinct", "known ids", "OOV"),
            [
                (c.column, f"{c.missing / rows_counted:.2%}", f"{c.distinct:,}", f"{c.ids - 2:,}",
                 f"{c.oov / rows_counted:.2%}")
                for c in manifest.categorical
            ],
        ),
    ]  # fmt: skip
    if manifest.extension:
        known = sum(manifest.categories) - sum(manifest.extension.ids_before)
        generations = ", ".join(manifest.lineage)
        text += ["", f"generations of the fit: {generations}; {known:,} ids are new in the last"]
    if verify:
        text += ["", f"all {len(manifest.files())} files are sound, by checksum and by content"]
    return Inspection(figures, text)


def _inspect_run(path: Path, *, verify: bool) -> Inspection:
    from criteo_stream.runs.checkpoint_folder import CheckpointFolder
    from criteo_stream.runs.state import TrainState, moments_in, weights_in

    folder = RunFolder(path)
    record = folder.read()
    checkpoints = CheckpointFolder(folder.checkpoints)
    sound = checkpoints.sound_steps() if verify else 0
    steps = checkpoints.steps()
    latest = checkpoints.describe_latest()
    tensors = latest[1] if latest else {}
    history = folder.history.read()
    weights = weights_in(tensors)
    trained = {moment.removesuffix(".exp_avg") for moment in moments_in(tensors)}
    layers = {name: tensor for name, tensor in weights.items() if name in trained}
    fixed = {name: tensor for name, tensor in weights.items() if name not in trained}
    sizes = {name: math.prod(tensor.shape) for name, tensor in weights.items()}
    saved = TrainState.of(latest[0], folder.checkpoints) if latest else None
    best = saved.best if saved else None
    figures: dict[str, object] = {
        "kind": "run",
        "model": record.config.model,
        "options": record.config.to_dict(),
        "package_version": record.package_version,
        "from": record.from_run,
        "data": record.data,
        "fingerprint": record.fingerprint,
        "step": saved.step if saved else 0,
        "total_steps": saved.total_steps if saved else None,
        "best": best and best.to_dict(),
        "parameters": [
            {"layer": name, "shape": list(t.shape), "parameters": sizes[name], "bytes": t.bytes}
            for name, t in layers.items()
        ],
        "not_trained": [
            {"layer": name, "shape": list(t.shape), "bytes": t.bytes} for name, t in fixed.items()
        ],
        "checkpoints": [step.name for step in steps],
        "evaluations": len(history),
    }
    text = [
        f"{path}: {record.config.model} on {record.data}, step {saved.step if saved else 0:,} of "
        f"{saved.total_steps if saved else 0:,}, {counted(len(history), 'evaluation')}",
    ]
    if record.from_run:
        text.append(f"begun with the weights of {record.from_run}")
    if best:
        text += [f"best at step {best.step:,}:", f"  {best.text()}"]
    text += _option_lines(record.config)
    total = format_size(sum(tensor.bytes for tensor in layers.values()))
    text += [
        "",
        *table(
            ("layer", "shape", "parameters", "size"),
            [
                (name, "×".join(map(str, t.shape)) or "scalar", f"{sizes[name]:,}",
                 format_size(t.bytes))
                for name, t in layers.items()
            ]
            + [("total", "", f"{sum(sizes[name] for name in layers):,}", total)],
        ),
    ]  # fmt: skip
    if fixed:
        names = (f"{name} ({sizes[name]:,} values)" for name in fixed)
        text += ["", f"not trained: {', '.join(names)}"]
    if verify:
        text += ["", f"{counted(sound, 'checkpoint')} checked, all sound"]
    return Inspection(figures, text)


def _option_lines(config: ResolvedConfig) -> list[str]:
    """The main options, among them all that go by the rows; then others that are not at default."""
    values, known = config.to_dict(), declared(TrainConfig)
    main = [name for name in values if known[name].may_be_open or name in _MAIN_OPTIONS]
    others = [
        name
        for name, value in values.items()
        if name not in ("model", *main) and value != known[name].default
    ]
    text = {
        name: flag(name) if value is True else f"{flag(name)}\xa0{value}"
        for name, value in values.items()
    }
    lines = [("options", main), ("other than by default", others)]
    return [
        line
        for what, names in lines
        if names
        for line in wrapped(f"{what}: {', '.join(text[n] for n in names)}")
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else "–"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
