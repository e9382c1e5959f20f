"""Whose an output folder is, and how it is cleared: files of others are never touched.

A folder is ours only if its manifest or its unfinished work says so in our own words. Clearing
moves our files, by the names that we give, into a trash folder first: a crash at any moment leaves
either the set, or a trash folder that the next run finishes with.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import OutputError
from criteo_stream.base.records import has_names
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, SPLITS
from criteo_stream.base.storage import final_name, sync_folder
from criteo_stream.data.folder import DataFolder
from criteo_stream.prepare.lease import OWNER_NAME

TRASH_NAME: Final = ".criteo-stream-trash"
"""Holds what is being removed; nobody else has a folder of this name."""
_MANIFEST_WORDS: Final = {"format", "package_version", "fit_fingerprint", "shards"}
_TASK_WORDS: Final = {"format", "package_version", "inputs"}
_WORK_FOLDERS: Final = {"blocks", "fit", "encoded", "plans"}
BEFORE_NAME: Final = "before"
"""The working folder's copy of a fit that is extended."""
_SHARD: Final = re.compile(r"part-\d{5,}\.parquet")


def refuse_foreign(data: DataFolder) -> None:
    """Refuse an output folder that holds anything that a preparation did not make.

    Raises:
        OutputError: names what was found.
    """
    out = data.path
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out} exists and is not a folder: choose another --out")
    work = [data.work, *(data.work / name for name in sorted({BEFORE_NAME, *_WORK_FOLDERS}))]
    for path in (data.manifest, *_parts(data), *work, out / TRASH_NAME):
        if path.is_symlink():
            raise OutputError(
                f"{path} is a link, and a data set's files are never written or removed through "
                "one: choose another --out"
            )
    if _is_ours(data):
        return
    known = {data.work.name, OWNER_NAME}
    found = next((p.name for p in sorted(out.iterdir()) if p.name not in known), None)
    if found is None and data.work.exists():
        found = None if _is_just_begun(data.work) else data.work.name
    if found is not None:
        raise OutputError(
            f"{out} is not empty and holds no data set (found {found}): "
            "choose another --out, or empty it"
        )


def _is_ours(data: DataFolder) -> bool:
    return (
        (data.path / TRASH_NAME).is_dir()
        or has_names(data.manifest, _MANIFEST_WORDS)
        or has_names(data.work / "task.json", _TASK_WORDS)
        or _has_our_folders(data.work)
    )


def _has_our_folders(work: Path) -> bool:
    """Whether a working folder is ours by its names, though its task is lost or damaged."""
    if not work.is_dir():
        return False
    others = {"task.json", ".task.json.partial", BEFORE_NAME}
    names = {path.name for path in work.iterdir()} - others
    return names == _WORK_FOLDERS and all((work / name).is_dir() for name in names)


def _is_just_begun(work: Path) -> bool:
    """Whether a crash came before the task was recorded: nothing but its unfinished file."""
    return all(final_name(path.name) for path in work.iterdir())


def clear(data: DataFolder) -> None:
    """Remove what a preparation writes, and nothing else; again after a crash to finish it."""
    trash = data.path / TRASH_NAME
    trash.mkdir(exist_ok=True)
    sync_folder(data.path)
    for path in [data.manifest, *_files(data), data.work]:
        if path.exists():
            aside = trash / path.relative_to(data.path)
            aside.parent.mkdir(exist_ok=True)
            _remove(aside)
            path.rename(aside)
    for folder in _folders(data):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    sync_folder(data.path)
    shutil.rmtree(trash)


def finish_clearing(data: DataFolder) -> None:
    """Finish a clearing that a crash interrupted."""
    if (data.path / TRASH_NAME).is_dir():
        clear(data)


def _parts(data: DataFolder) -> list[Path]:
    """Files and folders of a set beside its manifest."""
    return [data.quantiles, data.rejected, *_folders(data)]


def _folders(data: DataFolder) -> list[Path]:
    return [data.vocabularies, data.all_counts, *map(data.split, SPLITS)]


def _files(data: DataFolder) -> Iterator[Path]:
    """Files of a set beside its manifest, finished or not, by the names that we give."""
    vocabularies = {data.vocabulary(column).name for column in CATEGORICAL_COLUMNS}
    yield from (data.quantiles, data.rejected)
    for folder in _folders(data):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = final_name(path.name) or path.name
            if name in vocabularies or _SHARD.fullmatch(name):
                yield path


def _remove(path: Path) -> None:
    """Make room for a file or folder of a clearing that is done again."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
