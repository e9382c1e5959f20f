"""Settings of the whole suite."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine that others share.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# Read when torch is loaded: compute threads that spin while they wait make training ten times
# slower on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing guards against power cuts, which no test makes; it is most of a small run's time."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set of 710 training, 150 valid and 120 test rows, which no test changes."""
    from tests.support.training import tiny_set

    return tiny_set(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="session")
def longer_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with 1,200 training rows."""
    from tests.support.training import tiny_set

    return tiny_set(tmp_path_factory.mktemp("longer") / "set", train=(700, 500))
