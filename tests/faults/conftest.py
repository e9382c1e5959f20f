"""Two days of raw lines, and the set that an undisturbed preparation makes of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_sets import content, prepare
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.stopped_preparation import OPTIONS


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    lines = raw_lines(2300, seed=21)
    write_raw(folder / "day_1", lines[:1200])
    write_raw(folder / "day_2", lines[1200:])
    return folder


@pytest.fixture(scope="module")
def expected(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("expected") / "data"
    prepare(raw, out, **OPTIONS)
    return content(out)


@pytest.fixture
def own_raw(raw: Path, tmp_path: Path) -> Path:
    """A copy of the input that a test may change."""
    return Path(shutil.copytree(raw, tmp_path / "own"))


@pytest.fixture(scope="session")
def data(longer_data: Path) -> Path:
    """A set of enough steps to be stopped in the middle of."""
    return longer_data
