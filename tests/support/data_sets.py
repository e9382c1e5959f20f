"""Prepared sets compared byte by byte, and the real rows that some tests need."""

import json
from pathlib import Path
from typing import Any

from criteo_stream.prepare import PrepareResult, preprocess


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
