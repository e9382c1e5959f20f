"""Prepared sets compared byte by byte, and the real rows that some tests need."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.prepare import PrepareResult, preprocess

REAL_DATA = Path(
    os.environ.get("CRITEO_STREAM_REAL_DATA", Path(__file__).parents[2] / "shared" / "data")
)


def real_rows(name: str) -> Path:
    """A file of real Criteo rows; skips the test where it is absent."""
    path = REAL_DATA / name
    if not path.exists():
        pytest.skip(f"needs the real rows of {path}")
    return path


def prepare(raw: Any, out: Path, **options: Any) -> PrepareResult:
    """`preprocess` without progress."""
    return preprocess(raw, out, **{"quiet": True, "memory": "1GB", **options})


def content(folder: Path, *, same_inputs: bool = True) -> dict[str, bytes | dict[str, Any]]:
    """Every file of a set, but the times in its manifest.

    Without ``same_inputs``, also but what names the raw files.
    """
    files: dict[str, bytes | dict[str, Any]] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["times"]
    if not same_inputs:
        del manifest["options"]["inputs"], manifest["checksum"]
        for entry in manifest["inputs"]:
            for key in ("path", "bytes", "mtime_ns"):
                del entry[key]
    files["manifest.json"] = manifest
    return files
