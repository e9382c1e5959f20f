"""TOML files of plain values."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from criteo_stream.base.errors import UsageError


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of text, numbers, truth values and lists of them as TOML."""
    return tomli_w.dumps(tables)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no such configuration file: {path}") from None
    except ValueError as error:  # not TOML, not UTF-8, or an integer of thousands of digits
        raise UsageError(f"{path} is not valid TOML: {error}") from None
