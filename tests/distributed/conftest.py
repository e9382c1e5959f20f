"""What the tests of several ranks share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data(longer_data: Path) -> Path:
    """A set of enough steps to be stopped in the middle of."""
    return longer_data
