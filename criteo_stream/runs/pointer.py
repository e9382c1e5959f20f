"""A name in a folder that stands for another entry of it: a link, or a small file with the name.

Copies of a run have what their tool made of a link: ``cp -rL`` and ``scp -r`` a whole folder,
archives unpacked where there are no links a small file.
"""

import errno
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import RunError
from criteo_stream.base.records import parse_json
from criteo_stream.base.storage import opened_file, read_bytes, sync_folder, write_bytes

TENSORS: Final = "tensors.safetensors"
STATE: Final = "state.json"
"""Files of a checkpoint."""
_NO_LINKS: Final = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_LONGEST: Final = 200
"""Bytes of a small file that are read; a name is shorter."""


def read_pointer(path: Path) -> str | None:
    """The name that a link or a small file holds; None where neither is there."""
    try:
        if path.is_symlink():
            return str(path.readlink())
        with opened_file(path) as file:
            return file.read(_LONGEST).decode(errors="backslashreplace").strip()
    except OSError:  # absent, or a folder
        return None


def copied_step(path: Path) -> int | None:
    """The step of the checkpoint that a folder in a pointer's place is a copy of.

    Raises:
        RunError: the folder is something else, which is not ours to remove.
    """
    if path.is_symlink() or not path.is_dir():
        return None
    try:
        step = parse_json(read_bytes(path / STATE))["state"]["step"]
        if {entry.name for entry in path.iterdir()} <= {STATE, TENSORS}:
            return int(step)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise RunError(
        f"{path} is a folder that holds something other than a checkpoint: move it away, "
        "the run needs its name"
    )


def point_link(folder: Path, name: str, target: Path) -> None:
    """Let a name in a folder stand for another entry of it, at no time for none.

    A small file holds it where the file system has no links.
    """
    aside = folder / f".{name}.partial"
    aside.unlink(missing_ok=True)
    try:
        aside.symlink_to(target.name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        write_bytes(folder / name, f"{target.name}\n".encode())
        return
    aside.replace(folder / name)
    sync_folder(folder)
