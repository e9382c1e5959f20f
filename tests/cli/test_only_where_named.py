"""No command writes anything outside the folders and files that it is given."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.raw_lines import raw_lines, write_raw

_PROGRAM = """
import sys
from criteo_stream.cli import main

for line in sys.stdin.read().splitlines():
    try:
        main(line.split(" "))
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line}: exit code {end.code}")
"""
_TRAIN = "--embedding-dim 4 --bins 4 --batch-size 256 --epochs 1 --threads 1 --quiet"


def listing(folder: Path) -> dict[str, int]:
    """Files by path, with the time of their last change."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_nothing_is_written_outside_the_places_named(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    homes = {name: tmp_path / name for name in ("home", "tmp", "work")}
    for folder in (raw, out, *homes.values()):
        folder.mkdir()
    write_raw(raw / "train.txt", raw_lines(3000))
    before = listing(raw)
    commands = [
        f"inspect {raw}/train.txt --json",
        f"preprocess {raw}/train.txt --out {out}/data --min-count 3 --quiet",
        f"train {out}/data --out {out}/run {_TRAIN} --tensorboard",
        f"train {out}/data --out {out}/deep --model deepfm {_TRAIN}",
        f"evaluate {out}/run --against {out}/deep --plots --quiet",
        f"predict {out}/run {raw}/train.txt --out {out}/predictions.parquet --quiet",
        *(
            f"export {out}/deep --format {f} --out {out}/{f}"
            for f in ("onnx", "safetensors", "torch")
        ),
        f"report {out}/run {out}/deep --out {out}/report.html --quiet",
        f"inspect {out}/data --verify",
        f"inspect {out}/run --verify",
    ]
    kept = {
        name: os.environ[name]
        for name in ("PATH", "PYTHONPATH", "GOMP_SPINCOUNT")
        if name in os.environ
    }
    done = subprocess.run(
        [sys.executable, "-B", "-c", _PROGRAM],
        input="\n".join(commands),
        cwd=homes["work"],
        env={**kept, "HOME": str(homes["home"]), "TMPDIR": str(homes["tmp"])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # torch makes an empty folder for its compiler's temporary files.
    if (of_torch := homes["tmp"] / f"torchinductor_{getpass.getuser()}").exists():
        of_torch.rmdir()
    for folder in homes.values():
        assert listing(folder) == {}
    assert listing(raw) == before
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [
            "data",
            "run",
            "deep",
            "predictions.parquet",
            "onnx",
            "safetensors",
            "torch",
            "report.html",
        ]
    )
