"""Prepared sets compared byte by byte, and the real rows that some tests need."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from criteo_stream.data.folder import MANIFEST_NAME
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.pipeline import preprocess
from criteo_stream.prepare.result import PrepareResult


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
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    del manifest["times"]
    if not same_inputs:
        del manifest["options"]["inputs"], manifest["checksum"]
        for entry in manifest["inputs"]:
            for key in ("path", "bytes", "mtime_ns"):
                del entry[key]
    files[MANIFEST_NAME] = manifest
    return files


def read_split(out: Path, split: str) -> pl.DataFrame:
    """All rows of a split, in the order of its shards."""
    manifest = Manifest.read(out)
    frames = [pl.read_parquet(out / entry.path) for entry in manifest.shards[split]]
    return pl.concat(frames) if frames else pl.DataFrame()
