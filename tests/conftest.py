"""Settings of the whole suite."""

import os

import pytest

# Read when torch is loaded: compute threads that spin while they wait make training ten times
# slower on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing guards against power cuts, which no test makes; it is most of a small run's time."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
