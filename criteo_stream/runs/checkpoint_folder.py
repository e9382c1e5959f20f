"""The checkpoints of a run: written aside, synced, renamed; a crash leaves the one before.

``checkpoints/step-00001234/`` is one of them. ``last`` and ``best`` point at whole ones; in a copy
of a run they may be folders.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from criteo_stream.base.errors import RunError
from criteo_stream.base.storage import full_disk_explained, make_folder, sync_folder
from criteo_stream.runs.checkpoint import (
    Checkpoint,
    DamagedCheckpointError,
    describe_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from criteo_stream.runs.pointer import copied_step, point_link, read_pointer
from criteo_stream.runs.state import verify_checkpoint
from criteo_stream.runs.tensorfile import Described

_NAME: Final = re.compile(r"step-\d{10}")
_POINTERS: Final = ("last", "best")
_UNFINISHED: Final = re.compile(r"\.(step-\d{10}|last|best)\.(partial|dropped)")
"""Folders being written or removed; nothing else that is hidden is ours to delete."""


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

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.folder / f"step-{step:010d}"

    def save(self, step: int, checkpoint: Checkpoint, *, best: bool) -> Path:
        """Write a checkpoint and point ``last`` (and ``best``) at it; drop old ones.

        Raises:
            OutputError: the disk is full; the previous checkpoint is whole.
        """
        final = self.path(step)
        partial = self.folder / f".{final.name}.partial"
        with full_disk_explained(final):
            make_folder(self.folder)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                write_checkpoint(partial, checkpoint)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            self._remove(final)  # the same step, saved by an earlier call
            partial.rename(final)
            sync_folder(self.folder)
            self._point("last", final)
            if best:
                self._point("best", final)
        self.drop_old()
        return final

    def rewind(self, step: int, best_step: int | None) -> None:
        """Make the folder what it was when the checkpoint of a step had just been saved.

        A crash can come between any two actions of `save`: it leaves unfinished folders, or links
        that still name the checkpoint before. Newer checkpoints are damaged ones that were passed
        over. Without ``best_step`` there is no best one yet.
        """
        for path in self.folder.iterdir():
            if _UNFINISHED.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
        for path in self.steps():
            if path > self.path(step):
                self._remove(path)
        self._point("last", self.path(step))
        if best_step is not None:
            self._point("best", self.path(best_step))
        else:
            self._put_copy_away("best")
            (self.folder / "best").unlink(missing_ok=True)
        self.drop_old()

    def drop_old(self) -> None:
        """Remove checkpoints that are neither the latest ones nor the best."""
        kept = {path.name for path in self.steps()[-self._keep :]}
        for name in _POINTERS:
            step = copied_step(self.folder / name)
            held = read_pointer(self.folder / name) if step is None else self.path(step).name
            kept.add(held or "")
        for path in self.steps():
            if path.name not in kept:
                self._remove(path)

    def _point(self, name: str, target: Path) -> None:
        self._put_copy_away(name)
        point_link(self.folder, name, target)

    def _put_copy_away(self, name: str) -> None:
        """Make room for a pointer; a copy that is the only one becomes the checkpoint itself."""
        copy = self.folder / name
        step = copied_step(copy)
        if step is not None:
            if not self.path(step).exists():
                copy.rename(self.path(step))
            self._remove(copy)

    def _remove(self, path: Path) -> None:
        """Delete a checkpoint so that a crash half-way leaves nothing that looks like one."""
        if path.exists():
            aside = self.folder / f".{path.name}.dropped"
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            shutil.rmtree(aside)

    def steps(self) -> list[Path]:
        """Checkpoints, oldest first."""
        names = self.folder.iterdir() if self.folder.is_dir() else ()
        found = (path for path in names if _NAME.fullmatch(path.name))
        return sorted(path for path in found if path.is_dir() and not path.is_symlink())

    def load_latest(self) -> Checkpoint | None:
        """The newest checkpoint that is sound; None when there was never one.

        Raises:
            RunError: there are some, and all are damaged, or one is of another version.
        """
        paths = self.steps()
        for path in reversed(paths):
            try:
                return read_checkpoint(path)
            except DamagedCheckpointError as error:
                last_error = error
                if path != paths[0]:
                    self._warn(f"{error}; falling back to the checkpoint before it")
        if paths:
            raise RunError(
                f"every checkpoint in {self.folder} is damaged ({last_error}): start a new run"
            )
        return None

    def load_best(self) -> Checkpoint:
        """The checkpoint with the best figure on the valid split.

        Raises:
            RunError: there is none, or it is damaged.
        """
        while True:
            path = self._best()
            try:
                return read_checkpoint(path)
            except DamagedCheckpointError:
                if self._best() == path:
                    raise
                # A training beside us has found a better one, and dropped this one meanwhile.

    def _best(self) -> Path:
        link = self.folder / "best"
        target = read_pointer(link)
        if target is None:
            if link.is_dir():
                return link
            raise RunError(f"{self.folder} has no best checkpoint yet: train first")
        if not _NAME.fullmatch(target):
            raise RunError(f"{link} points outside the run ({target}): do not trust this run")
        return self.folder / target

    def sound_steps(self) -> int:
        """Read and verify all checkpoints; their number. Those that vanish meanwhile pass.

        Raises:
            RunError: one of them is damaged, or holds what no training writes.
        """
        paths = self.steps()
        for path in paths:
            try:
                verify_checkpoint(read_checkpoint(path), path)
            except DamagedCheckpointError:
                if path.exists():
                    raise
        return len(paths)

    def describe_latest(self) -> tuple[Mapping[str, Any], dict[str, Described]] | None:
        """State and tensors' shapes of the newest checkpoint; None where there is none.

        Raises:
            RunError: it is damaged, or of another version.
        """
        while paths := self.steps():
            try:
                return describe_checkpoint(paths[-1])
            except DamagedCheckpointError:
                if paths[-1].exists():
                    raise
        return None
