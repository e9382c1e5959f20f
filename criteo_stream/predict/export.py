"""A folder with a model and everything that its inputs are made with; ``model.json`` last.

All files are written and synced in a folder aside, within the export's own, and then moved to
their places: an export that fails leaves an earlier one as it was.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from criteo_stream import __version__
from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.base.records import has_names
from criteo_stream.base.schema import SPLITS
from criteo_stream.base.storage import (
    full_disk_explained,
    locked_folder,
    make_folder,
    refuse_inside,
    sync_file,
    sync_folder,
    write_json,
)
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.manifest import verify_file
from criteo_stream.models.inputs import FieldInputs
from criteo_stream.predict.graph import save_onnx, save_program
from criteo_stream.predict.restore import LoadedRun, load_run
from criteo_stream.runs.tensorfile import write_tensors

INDEX: Final = "model.json"
_FILES: Final = {"onnx": "model.onnx", "safetensors": "model.safetensors", "torch": "model.pt2"}
_WEIGHTS_BESIDE: Final = "model.onnx.data"
_ASIDE: Final = ".criteo-stream-export"
"""Holds what is not yet whole; nobody else has a folder of this name."""
_INDEX_WORDS: Final = {"package_version", "file", "fit_fingerprint", "numeric", "categorical"}
_SAMPLE_ROWS: Final = 256


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model that was written for other programs."""

    out: Path
    format: str
    bytes: int
    """Size of the whole folder."""
    checked: bool
    """Whether the graph was compared with the model."""

    def to_dict(self) -> dict[str, object]:
        """Plain values by name, as ``--json`` prints them."""
        return asdict(self) | {"out": str(self.out)}


def export_run(
    run: Path | str,
    form: str,
    out: Path | str,
    *,
    data: Path | str | None = None,
    trust_model: bool | str = False,
) -> Exported:
    """Write a run's best weights, and the vocabularies and quantiles that they belong to.

    Args:
        run: folder of the run.
        form: ``onnx``, ``safetensors`` or ``torch`` (a `torch.export` program).
        out: a new folder, or one that an earlier export made.
        data: a data set with the run's fit; default the one it was trained on.
        trust_model: whether a recorded model by import path may be imported, see `load_run`.

    Raises:
        UsageError: an unknown format, or one whose packages are not installed.
        OutputError: the folder holds something else, or the disk is full.
        RunError: the folder is not a run, or has no sound best checkpoint.
        DataSetError: the data set is missing or of another fit.
    """
    if form not in _FILES:
        raise UsageError(f"--format {form} is not known: use {', '.join(_FILES)}")
    loaded = load_run(run, data, trust_model=trust_model, own_fit=True)
    folder = user_path(out)
    refuse_inside(folder, loaded.data)
    with _claimed(folder, loaded), full_disk_explained(folder):
        aside = folder / _ASIDE
        _copy_fit(loaded, aside)
        checked = _write_model(loaded, form, aside / _FILES[form])
        for path in _files_in(aside):
            sync_file(path)
        _move(aside, folder)
        write_json(folder / INDEX, _index(loaded, form))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Exported(out=folder, format=form, bytes=size, checked=checked)


@contextmanager
def _claimed(folder: Path, loaded: LoadedRun) -> Iterator[None]:
    """Hold a folder that is new, empty or an earlier export, finished or not.

    Raises:
        OutputError: it holds something else, or another process exports into it.
    """
    _refuse_foreign(folder, loaded)
    with full_disk_explained(folder):
        make_folder(folder)
    busy = OutputError(f"another process exports into {folder}: choose another --out")
    with locked_folder(folder, busy):
        _refuse_foreign(folder, loaded)  # again, now that nobody else changes it
        aside = folder / _ASIDE
        shutil.rmtree(aside, ignore_errors=True)
        with full_disk_explained(folder):
            make_folder(aside)
        try:
            yield
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(OSError):  # not empty, as it should be; else nothing was written
                folder.rmdir()


def _refuse_foreign(folder: Path, loaded: LoadedRun) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} exists and is not a folder: choose another --out")
    fit = {Path(entry.path).parts[0] for entry in loaded.manifest.fit_files}
    ours = fit | {INDEX, _WEIGHTS_BESIDE, *_FILES.values(), _ASIDE}
    found = sorted(folder.iterdir())
    for path in found:
        if path.name in ours and path.is_symlink():
            raise OutputError(
                f"{path} is a link, and an export's files are never written or removed through "
                "one: choose another --out"
            )
    # Names alone say little: an unfinished data set has some of them as well.
    begun = (folder / _ASIDE).is_dir() or has_names(folder / INDEX, _INDEX_WORDS)
    foreign = [path.name for path in found if not begun or path.name not in ours]
    if foreign:
        raise OutputError(
            f"{folder} holds something other than an export ({foreign[0]}): choose another --out"
        )


def _copy_fit(loaded: LoadedRun, aside: Path) -> None:
    for entry in loaded.manifest.fit_files:
        verify_file(loaded.data, entry)
        (aside / entry.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(loaded.data / entry.path, aside / entry.path)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _move(aside: Path, folder: Path) -> None:
    """Put whole files in the place of an earlier export's; without its index it is none."""
    for name in (INDEX, _WEIGHTS_BESIDE, *_FILES.values()):
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)
    for path in _files_in(aside):
        target = folder / path.relative_to(aside)
        make_folder(target.parent)
        path.replace(target)
    for parent in {path.parent for path in _files_in(folder)}:
        sync_folder(parent)


def _write_model(loaded: LoadedRun, form: str, path: Path) -> bool:
    model = loaded.model.eval()
    if form == "safetensors":
        write_tensors(path, model.state_dict())
        return False
    numeric, categorical = _sample(loaded)
    if form == "torch":
        return save_program(path, model, numeric, categorical)
    return save_onnx(path, model, numeric, categorical, _about(loaded))


def _about(loaded: LoadedRun) -> dict[str, str]:
    """What a graph says of its origin when it is alone."""
    return {
        "model": loaded.config.model,
        "step": str(loaded.step),
        "data_fingerprint": loaded.data_fingerprint,
        "fit_fingerprint": loaded.manifest.fit_fingerprint,
        "package_version": __version__,
    }


def _sample(loaded: LoadedRun) -> tuple[Tensor, Tensor]:
    """Some rows of the data set, whichever split has any."""
    split = next(s for s in SPLITS if loaded.manifest.rows[s])
    inputs, _ = next(iter(CriteoDataset(loaded.data, split, _SAMPLE_ROWS, shuffle=False)))
    return inputs


def _index(loaded: LoadedRun, form: str) -> dict[str, object]:
    """Facts that another program needs beside the files."""
    manifest = loaded.manifest
    assert isinstance(loaded.model, FieldInputs)
    return {
        "package_version": __version__,
        "file": _FILES[form],
        "options": loaded.config.to_dict(),
        "step": loaded.step,
        "fit_fingerprint": manifest.fit_fingerprint,
        "numeric": [asdict(column) for column in manifest.numeric],
        "categorical": [asdict(column) for column in manifest.categorical],
        **loaded.model.export_constants(),
    }
