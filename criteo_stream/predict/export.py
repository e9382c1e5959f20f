"""A folder with a model and everything that its inputs are made with; ``model.json`` last."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from criteo_stream import __version__
from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.base.schema import SPLITS
from criteo_stream.base.storage import atomic_path, full_disk_explained, write_json
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.manifest import verify_file
from criteo_stream.models.inputs import FieldInputs
from criteo_stream.predict.graph import save_onnx, save_program
from criteo_stream.predict.restore import LoadedRun, load_run
from criteo_stream.runs.tensorfile import write_tensors

INDEX: Final = "model.json"
_FILES: Final = {"onnx": "model.onnx", "safetensors": "model.safetensors", "torch": "model.pt2"}
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
    run: Path | str, form: str, out: Path | str, *, data: Path | str | None = None
) -> Exported:
    """Write a run's best weights, and the vocabularies and quantiles that they belong to.

    Args:
        run: folder of the run.
        form: ``onnx``, ``safetensors`` or ``torch`` (a `torch.export` program).
        out: a new folder, or one that an earlier export made.
        data: a data set with the run's fit; default the one it was trained on.

    Raises:
        UsageError: an unknown format, or one whose packages are not installed.
        OutputError: the folder holds something else, or the disk is full.
        RunError: the folder is not a run, or has no sound best checkpoint.
        DataSetError: the data set is missing or of another fit.
    """
    if form not in _FILES:
        raise UsageError(f"--format {form} is not known: use {', '.join(_FILES)}")
    loaded = load_run(run, data)
    folder = user_path(out)
    _claim(folder, loaded)
    with full_disk_explained(folder):
        _copy_fit(loaded, folder)
        checked = _write_model(loaded, form, folder / _FILES[form])
        write_json(folder / INDEX, _index(loaded, form))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Exported(out=folder, format=form, bytes=size, checked=checked)


def _claim(folder: Path, loaded: LoadedRun) -> None:
    """Begin a folder, or begin it anew where an earlier export is, finished or not."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} exists and is not a folder: choose another --out")
    fit = {Path(entry.path).parts[0] for entry in loaded.manifest.fit_files}
    model = {INDEX, "model.onnx.data", *_FILES.values()}
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name not in fit | model and not path.name.startswith("."):
            raise OutputError(
                f"{folder} holds something else than an export ({path.name}): choose another --out"
            )
    for name in model:  # without its index an export is not complete
        (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def _copy_fit(loaded: LoadedRun, folder: Path) -> None:
    for entry in loaded.manifest.fit_files:
        verify_file(loaded.data, entry)
        (folder / entry.path).parent.mkdir(exist_ok=True)
        with atomic_path(folder / entry.path, shared=True) as partial:
            shutil.copyfile(loaded.data / entry.path, partial)


def _write_model(loaded: LoadedRun, form: str, path: Path) -> bool:
    model = loaded.model.eval()
    if form == "safetensors":
        with atomic_path(path, shared=True) as partial:
            write_tensors(partial, model.state_dict())
        return False
    numeric, categorical = _sample(loaded)
    # Not through a partial file: weights that go beside an ONNX graph are found by its name.
    save = {"onnx": save_onnx, "torch": save_program}[form]
    return save(path, model, numeric, categorical)


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
