"""A checkpoint: checksummed, and loaded without running any code.

Its folder holds ``tensors.safetensors`` (weights, moments, random state) and ``state.json`` (plain
values, and the checksum of the tensors).
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from criteo_stream.base.errors import RunError
from criteo_stream.base.records import Crc32, RecordError, from_plain, parse_json
from criteo_stream.base.storage import file_crc32, read_bytes, sync_folder, write_json
from criteo_stream.runs.pointer import STATE, TENSORS
from criteo_stream.runs.tensorfile import Described, describe_tensors, write_tensors

CHECKPOINT_VERSION: Final = 2
_READABLE: Final = (1, CHECKPOINT_VERSION)


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint."""

    tensors: dict[str, Tensor]
    state: Mapping[str, Any]
    """Plain values, as JSON holds them."""


@dataclass(frozen=True, kw_only=True)
class _StateFile:
    """The content of ``state.json``."""

    version: int
    tensors_crc32: Crc32
    state: dict[str, Any]


class DamagedCheckpointError(RunError):
    """A checkpoint that an earlier one can stand in for."""


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's files into an empty folder, synced."""
    state = {
        "version": CHECKPOINT_VERSION,
        "tensors_crc32": write_tensors(folder / TENSORS, checkpoint.tensors),
        "state": checkpoint.state,
    }
    write_json(folder / STATE, {**state, "state_crc32": state_crc32(state)})
    sync_folder(folder)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint; its tensors are mapped from the file.

    Raises:
        RunError: a file is missing or damaged, or it is of another version.
    """
    raw = _read_state(path)
    try:
        if file_crc32(path / TENSORS) != raw.tensors_crc32:
            raise DamagedCheckpointError(f"{path / TENSORS} is damaged: its checksum differs")
        return Checkpoint(load_file(path / TENSORS), raw.state)
    except FileNotFoundError:
        raise DamagedCheckpointError(f"{path} is incomplete: {TENSORS} is missing") from None
    except (ValueError, OSError, SafetensorError) as error:
        raise DamagedCheckpointError(f"{path / TENSORS} is damaged ({error})") from None


def describe_checkpoint(path: Path) -> tuple[Mapping[str, Any], dict[str, Described]]:
    """The state, and what the tensors are, without reading them.

    Raises:
        RunError: a file is missing or damaged, or it is of another version.
    """
    state = _read_state(path).state
    try:
        return state, describe_tensors(path / TENSORS)
    except FileNotFoundError:
        raise DamagedCheckpointError(f"{path} is incomplete: {TENSORS} is missing") from None
    except (ValueError, OSError, SafetensorError) as error:
        raise DamagedCheckpointError(f"{path / TENSORS} is damaged ({error})") from None


def _read_state(path: Path) -> _StateFile:
    file = path / STATE
    try:
        raw = parse_json(read_bytes(file))
        if not isinstance(raw, dict):
            raise RecordError("expected an object")
        found = raw.pop("state_crc32", None)
        if found != state_crc32(raw):
            raise RecordError("its checksum differs")
        version = raw.get("version")
    except FileNotFoundError:
        raise DamagedCheckpointError(f"{path} is incomplete: {STATE} is missing") from None
    except (RecordError, OSError) as error:
        raise DamagedCheckpointError(f"{file} is damaged ({error})") from None
    if version not in _READABLE:
        raise RunError(
            f"{path} has checkpoint version {version}, this package reads up to "
            f"{CHECKPOINT_VERSION}: continue with the package version that wrote it"
        )
    try:
        return from_plain(raw, _StateFile)
    except RecordError as error:
        raise DamagedCheckpointError(f"{file} is damaged ({error})") from None


def state_crc32(state: Mapping[str, object]) -> str:
    """Checksum of what ``state.json`` says beside it."""
    return f"{zlib.crc32(json.dumps(state, sort_keys=True).encode()):08x}"
