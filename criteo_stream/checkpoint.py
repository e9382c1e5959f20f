"""Checkpoints: written aside, synced, renamed; checksummed; loaded without running any code.

``checkpoints/step-00001234/`` holds ``tensors.safetensors`` (weights, moments, random state) and
``state.json`` (plain values, and the checksum of the tensors). ``last`` and ``best`` are links to
whole ones: a crash at any moment leaves the one before.
"""

import json
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from criteo_stream.errors import RunError
from criteo_stream.storage import (
    file_crc32,
    full_disk_explained,
    sync_file,
    sync_folder,
    write_json,
)

CHECKPOINT_VERSION: Final = 1
_TENSORS: Final = "tensors.safetensors"
_STATE: Final = "state.json"
_NAME: Final = re.compile(r"step-\d{10}")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    """Plain values, as JSON holds them."""


class CheckpointFolder:
    """The checkpoints of one run; one process writes, any reads.

    Args:
        folder: ``RUN/checkpoints``.
        keep: how many of the latest are kept, beside the best.
        warn: told when a damaged checkpoint is passed over.
    """

    def __init__(
        self, folder: Path, *, keep: int = 2, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder = folder
        self._keep = keep
        self._warn = warn

    def save(self, step: int, checkpoint: Checkpoint, *, best: bool) -> Path:
        """Write a checkpoint and point ``last`` (and ``best``) at it; drop old ones.

        Raises:
            OutputError: the disk is full; the previous checkpoint is whole.
        """
        final = self.folder / f"step-{step:010d}"
        partial = self.folder / f".{final.name}.partial"
        with full_disk_explained(final):
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                self._write(partial, checkpoint)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            if final.exists():  # the same step again, after a fall-back to an earlier one
                shutil.rmtree(final)
            partial.rename(final)
            sync_folder(self.folder)
            self._point("last", final)
            if best:
                self._point("best", final)
        self._drop_old()
        return final

    def _write(self, partial: Path, checkpoint: Checkpoint) -> None:
        tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
        try:
            save_file(tensors, partial / _TENSORS)
        except SafetensorError as error:  # it wraps the system's error in its message
            if "os error 28" in str(error) or "os error 122" in str(error):
                raise OSError(28, "No space left on device") from error
            raise
        sync_file(partial / _TENSORS)
        state = {
            "version": CHECKPOINT_VERSION,
            "tensors_crc32": file_crc32(partial / _TENSORS),
            "state": checkpoint.state,
        }
        write_json(partial / _STATE, {**state, "state_crc32": _state_crc32(state)})
        sync_folder(partial)

    def _point(self, name: str, target: Path) -> None:
        aside = self.folder / f".{name}.partial"
        aside.unlink(missing_ok=True)
        aside.symlink_to(target.name)
        aside.replace(self.folder / name)
        sync_folder(self.folder)

    def _drop_old(self) -> None:
        kept = {path.name for path in self.steps()[-self._keep :]}
        links = (self.folder / name for name in ("best", "last"))
        kept |= {link.readlink().name for link in links if link.is_symlink()}
        for path in self.steps():
            if path.name not in kept:
                shutil.rmtree(path)

    def steps(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir())

    def load_latest(self) -> Checkpoint | None:
        """The newest checkpoint that is sound; None when there was never one.

        Raises:
            RunError: there are some, and all are damaged.
        """
        paths = self.steps()
        for path in reversed(paths):
            try:
                return read_checkpoint(path)
            except RunError as error:
                self._warn(f"{error}; falling back to the checkpoint before it")
        if paths:
            raise RunError(f"every checkpoint in {self.folder} is damaged: start a new run")
        return None

    def load_best(self) -> Checkpoint:
        """The checkpoint with the best figure on the valid split.

        Raises:
            RunError: there is none, or it is damaged.
        """
        link = self.folder / "best"
        if not link.is_symlink():
            raise RunError(f"{self.folder} has no best checkpoint yet: train first")
        target = str(link.readlink())
        if not _NAME.fullmatch(target):
            raise RunError(f"{link} points outside the run ({target}): do not trust this run")
        return read_checkpoint(self.folder / target)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        RunError: a file is missing or damaged, or it is of another version.
    """
    try:
        raw = json.loads((path / _STATE).read_bytes())
        version = raw["version"]
        if version != CHECKPOINT_VERSION:
            raise RunError(
                f"{path} has checkpoint version {version}, this package reads "
                f"{CHECKPOINT_VERSION}: continue with the package version that wrote it"
            )
        found = raw.pop("state_crc32")
        if found != _state_crc32(raw):
            raise RunError(f"{path / _STATE} is damaged: its checksum differs")
        if file_crc32(path / _TENSORS) != raw["tensors_crc32"]:
            raise RunError(f"{path / _TENSORS} is damaged: its checksum differs")
        return Checkpoint(load_file(path / _TENSORS), raw["state"])
    except FileNotFoundError as error:
        raise RunError(f"{path} is incomplete: {Path(error.filename).name} is missing") from None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunError(f"{path} is damaged ({error})") from None


def _state_crc32(state: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(state, sort_keys=True).encode()):08x}"
