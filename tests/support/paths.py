"""Where the repository is, and the real rows that some tests need."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
REAL_DATA = Path(os.environ.get("CRITEO_STREAM_REAL_DATA", REPOSITORY.parent / "shared" / "data"))


def real_rows(name: str) -> Path:
    """A file of real Criteo rows; skips the test where it is absent."""
    path = REAL_DATA / name
    if not path.exists():
        pytest.skip(f"needs the real rows of {path}")
    return path
