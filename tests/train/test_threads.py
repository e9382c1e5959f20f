"""A run is a pure function of its configuration, whatever else its process does meanwhile."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.training import Outcome, fit, outcome

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


class Forgetful(nn.Module):
    """Draws random numbers in every step, and initial weights too."""

    def __init__(self, fields: int, embedding_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(fields * embedding_dim, 8), nn.Dropout(0.5), nn.Linear(8, 1)
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        logit: Tensor = self.layers(embeddings.flatten(1))
        return logit.squeeze(1)


FORGETFUL = f"{__name__}:Forgetful"
RUNS: list[dict[str, Any]] = [
    {"model": "fm", "seed": 1},
    {"model": FORGETFUL, "seed": 2, "evaluate_every": 128},
    {"model": "deepfm", "seed": 3, "threads": 2},
    {"model": FORGETFUL, "seed": 4, "workers": 1},
]


def all_at_once(data: Path, folder: Path, runs: list[dict[str, Any]]) -> list[Outcome]:
    """Each run in a thread of its own, all begun together."""
    start = threading.Barrier(len(runs))
    failures: list[BaseException] = []

    def work(number: int, options: dict[str, Any]) -> None:
        try:
            start.wait()
            fit(data, folder / str(number), epochs=3, **options)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=run) for run in enumerate(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return [outcome(folder / str(number)) for number in range(len(runs))]


def test_fits_in_threads_are_the_same_fits_alone(data: Path, tmp_path: Path) -> None:
    together = all_at_once(data, tmp_path / "together", RUNS)
    for number, options in enumerate(RUNS):
        run = tmp_path / f"alone-{number}"
        fit(data, run, epochs=3, **options)
        assert outcome(run) == together[number], options


def test_a_fit_leaves_the_caller_s_random_numbers_alone(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(data, tmp_path / "run", model=FORGETFUL)
    assert torch.equal(torch.rand(3), expected)
