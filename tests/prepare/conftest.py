"""A small raw log and the set made from it."""

from pathlib import Path

import pytest

from tests.prepare.small_log import LINES, SMALL
from tests.support.data_sets import prepare
from tests.support.raw_lines import write_raw


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "log.tsv", LINES)


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "data"
    prepare(raw, out, **SMALL)
    return out
