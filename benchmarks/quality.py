"""The defaults against what a data scientist would train instead, on the same rows.

    python -m benchmarks.quality DATA [DATA…] [--truth truth.json] [--without lightgbm] [--curves]

DATA is a prepared set, such as 2 M synthetic rows (`tools/synthesize.py` writes the best possible
figures beside them); of several sets, such as one a split seed, means are shown. Logistic
regression and LightGBM choose their strength on the valid split, the plain FM its best epoch of
five. All figures are of the test split. With ``--curves`` also the valid AUC after each epoch, by
number of planned epochs. With ``--document`` the tables replace those in that file.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.machine import table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

from benchmarks.document import write_section
from benchmarks.references import (
    Figures,
    Splits,
    gradient_boosting,
    logistic_regression,
    plain_fm,
)
from criteo_stream import Trainer
from criteo_stream.runs.config import TrainConfig


def ours(data: Path, **options: Any) -> Figures:
    """The package's defaults, but for some options."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(data, Path(folder) / "run", TrainConfig(**options), quiet=True)
        result = trainer.fit()
        seconds = time.perf_counter() - start
        found = trainer.evaluate("test")
    assert found.auc is not None
    assert found.log_loss is not None
    assert found.calibration is not None
    return Figures(
        auc=found.auc,
        log_loss=found.log_loss,
        calibration=found.calibration,
        seconds=seconds,
        note=f"{result.steps:,} steps",
    )


def models(splits: Splits, data: Path) -> dict[str, Callable[[], Figures]]:
    """What is compared, by name."""
    return {
        "fm, defaults": lambda: ours(data),
        "fm, one pass": lambda: ours(data, epochs=1),
        "lr": lambda: ours(data, model="lr"),
        "logistic": lambda: logistic_regression(splits),
        "plain-fm-values": lambda: plain_fm(splits, with_bins=False),
        "plain-fm-bins": lambda: plain_fm(splits, with_bins=True),
        "lightgbm": lambda: gradient_boosting(splits),
    }


def compared(sets: Sequence[Path], without: Sequence[str]) -> list[dict[str, str]]:
    """Means over the sets, a row a model."""
    found: dict[str, list[Figures]] = {}
    for data in sets:
        for name, train in models(Splits.read(data), data).items():
            if name not in without:
                found.setdefault(name, []).append(train())
    return [
        {
            "model": name,
            **{
                key: f"{mean(getattr(f, key) for f in figures):.5f}"
                for key in ("auc", "log_loss", "calibration")
            },
            "seconds": f"{mean(f.seconds for f in figures):.0f}",
            "note": "; ".join(dict.fromkeys(f.note for f in figures)),
        }
        for name, figures in found.items()
    ]


def curves(data: Path, most: int = 5) -> list[dict[str, str]]:
    """Valid AUC after each epoch, a row a number of planned epochs."""
    rows = []
    for planned in range(1, most + 1):
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(epochs=planned)
            history = Trainer(data, Path(folder) / "run", config, quiet=True).fit().history
        row = {"planned epochs": str(planned)}
        for epoch in range(1, most + 1):
            row[f"after {epoch}"] = f"{history[epoch - 1].auc:.5f}" if epoch <= planned else ""
        rows.append(row)
    return rows


def main() -> None:
    """Measure; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--truth", type=Path, help="truth.json of synthetic rows")
    parser.add_argument("--without", nargs="*", default=[], help="models to leave out")
    parser.add_argument("--curves", action="store_true", help="train for 1 to 5 epochs too")
    parser.add_argument("--document", type=Path, help="file whose table is replaced")
    parser.add_argument("--section", default="quality", help="its mark in that file")
    arguments = parser.parse_args()
    if "lightgbm" not in arguments.without and find_spec("lightgbm") is None:
        parser.error("LightGBM is missing: pip install -e '.[bench]', or add --without lightgbm")
    rows = compared(arguments.data, arguments.without)
    if arguments.truth is not None:
        truth = json.loads(arguments.truth.read_text())
        rows.append(
            {"model": "best possible", "auc": f"{truth['auc']:.5f}",
             "log_loss": f"{truth['log_loss']:.5f}", "calibration": "1", "seconds": "",
             "note": "the teacher's own probabilities, all rows"}
        )  # fmt: skip
    text = table(rows)
    if arguments.curves:
        text += f"\n\nValid AUC after each epoch:\n\n{table(curves(arguments.data[0]))}"
    print(text)
    if arguments.document:
        write_section(arguments.document, arguments.section, text)
    print(json.dumps({**origin("quality"), "rows": rows}))


if __name__ == "__main__":
    main()
