"""What a part of the negatives costs and saves: preparing, training, test figures, by share kept.

    python -m benchmarks.thinning RAW [--shares 1 0.5 0.25 0.1] [--model fm] [--document FILE]

RAW is prepared once a share, with the defaults, and trained on; figures are of the test split,
which is whole and the same for every share. With ``--document`` the table replaces that in a file.
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.machine import table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

from benchmarks.document import write_section
from criteo_stream import Trainer, preprocess
from criteo_stream.runs.config import TrainConfig


def measured(raw: Path, share: float, model: str, folder: Path) -> dict[str, str]:
    """A row of the table."""
    prepared = preprocess(raw, folder / "data", keep_negatives=share, quiet=True)
    trainer = Trainer(folder / "data", folder / "run", TrainConfig(model=model), quiet=True)
    trained = trainer.fit()
    found = trainer.evaluate("test")
    return {
        "negatives kept": f"{share:g}",
        "training rows": f"{prepared.manifest.rows['train']:,}",
        "prepare s": f"{prepared.seconds:.1f}",
        "passes": str(trainer.folder.read().config.epochs),
        "train s": f"{trained.seconds:.1f}",
        "AUC": f"{found.auc:.5f}",
        "log loss": f"{found.log_loss:.5f}",
        "calibration": f"{found.calibration:.4f}",
    }


def main() -> None:
    """Measure; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[1, 0.5, 0.25, 0.1])
    parser.add_argument("--model", default="fm")
    parser.add_argument("--document", type=Path, help="file whose table is replaced")
    parser.add_argument("--section", default="thinning", help="its mark in that file")
    arguments = parser.parse_args()
    rows = []
    for share in arguments.shares:
        with tempfile.TemporaryDirectory(prefix="criteo-stream-") as folder:
            rows.append(measured(arguments.raw, share, arguments.model, Path(folder)))
    text = table(rows)
    print(text)
    if arguments.document:
        write_section(arguments.document, arguments.section, text)
    print(json.dumps({**origin("thinning"), "rows": rows}))


if __name__ == "__main__":
    main()
