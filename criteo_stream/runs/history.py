"""The history of a run: ``history.jsonl``, a line an evaluation."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from criteo_stream.base.errors import RunError
from criteo_stream.base.storage import full_disk_explained, write_bytes


class History:
    """Appends evaluations to a file, each line whole and synced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, evaluation: Mapping[str, Any]) -> None:
        """Add a line."""
        with full_disk_explained(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(evaluation) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def cut_after(self, step: int) -> None:
        """Drop lines of steps after a checkpoint's, and a last line that a crash cut short."""
        if self._path.exists():
            kept = [line for line in self.read() if line["step"] <= step]
            write_bytes(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def read(self) -> list[dict[str, Any]]:
        """All whole lines.

        Raises:
            RunError: a line in the middle is damaged.
        """
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").split("\n")
        found = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                raise RunError(f"{self._path}, line {number}: not JSON; restore the file") from None
        return found
