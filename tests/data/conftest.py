"""The set that the tests of reading share: the rows of a split are numbered through its shards."""

from pathlib import Path

import pytest

from tests.support.prepared import write_data_set


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """643 training rows in 41 row groups of 9 shards, and 70 valid rows."""
    folder = tmp_path_factory.mktemp("data")
    write_data_set(folder, {"train": [80] * 8 + [3], "valid": [50, 20]}, row_group_rows=16)
    return folder
