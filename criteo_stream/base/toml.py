"""TOML files of plain values, and paths in them."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from criteo_stream.base.errors import UsageError


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of text, numbers, truth values and lists of them as TOML.

    A path goes through `path_to_text` first: TOML holds Unicode only.
    """
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


def path_to_text(path: Path | str) -> str:
    r"""A path as text that TOML can hold.

    A path is bytes. One that is not UTF-8 becomes a NUL and its two hex digits, ``"\u0000ff"`` in
    the file. No path has a NUL, so every other path stays as it is and `path_from_text` is exact.
    """
    return re.sub(r"[\udc80-\udcff]", lambda match: f"\0{ord(match[0]) - 0xDC00:x}", str(path))


def path_from_text(text: str) -> str:
    """The path that `path_to_text` wrote, as Python holds it (see `os.fsdecode`)."""
    return re.sub("\0([89a-f][0-9a-f])", lambda match: os.fsdecode(bytes.fromhex(match[1])), text)
