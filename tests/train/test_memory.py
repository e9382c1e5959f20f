"""Memory of a run does not grow with its evaluations."""

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import os, sys
from criteo_stream import TrainConfig, Trainer
from criteo_stream.base.memory import tree_bytes
from criteo_stream.train import recorder

measure, found = recorder.Recorder.record, []

def measure_and_weigh(*args, **kwargs):
    metrics = measure(*args, **kwargs)
    found.append(tree_bytes(os.getpid()))
    return metrics

recorder.Recorder.record = measure_and_weigh
os.fsync = lambda descriptor: None
config = TrainConfig(embedding_dim=4, bins=4, epochs=20, batch_size=64, evaluate_every=256)
Trainer(sys.argv[1], sys.argv[2], config, workers=0, threads=1, quiet=True).fit()
print(len(found), found[2], found[59])
"""


def test_sixty_evaluations_take_no_more_than_three(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(data), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    evaluations, after_three, after_sixty = map(int, done.stdout.split())
    assert evaluations >= 60
    assert 0 < after_sixty <= 1.2 * after_three
