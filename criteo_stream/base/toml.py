"""TOML files of plain values."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from criteo_stream.base.errors import UsageError
from criteo_stream.base.storage import read_bytes


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of text, numbers, truth values and lists of them as TOML."""
    return tomli_w.dumps(tables)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: it is missing, cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(read_bytes(path).decode())
    except FileNotFoundError:
        raise UsageError(f"no such configuration file: {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise UsageError(f"{path} is not valid TOML: nested too deeply") from None
    except ValueError as error:  # not TOML, not UTF-8, or an integer of thousands of digits
        raise UsageError(f"{path} is not valid TOML: {error}") from None
