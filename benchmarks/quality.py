"""One pass with the defaults against what a data scientist would train instead, on the same rows.

    python -m benchmarks.quality DATA [--truth truth.json] [--without lightgbm]

DATA is a prepared set, such as 2 M synthetic rows (`tools/synthesize.py` writes the best possible
figures beside them). Logistic regression and LightGBM choose their strength on the valid split, the
plain FM its best epoch of five. All figures are of the test split.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import describe, table  # isort: skip (before torch)

from benchmarks.references import (
    Figures,
    Splits,
    gradient_boosting,
    logistic_regression,
    plain_fm,
)
from criteo_stream import Trainer


def ours(data: Path) -> Figures:
    """The package's defaults."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(data, Path(folder) / "run", quiet=True)
        result = trainer.fit()
        seconds = time.perf_counter() - start
        figures = trainer.evaluate("test")
    return Figures(
        auc=figures["auc"],
        log_loss=figures["log_loss"],
        calibration=figures["calibration"],
        seconds=seconds,
        note=f"{result.steps:,} steps, one pass",
    )


def main() -> None:
    """Measure; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--truth", type=Path, help="truth.json of synthetic rows")
    parser.add_argument("--without", nargs="*", default=[], help="references to leave out")
    arguments = parser.parse_args()
    splits = Splits.read(arguments.data)
    references: dict[str, Callable[[], Figures]] = {
        "ours": lambda: ours(arguments.data),
        "logistic": lambda: logistic_regression(splits),
        "plain-fm-values": lambda: plain_fm(splits, with_bins=False),
        "plain-fm-bins": lambda: plain_fm(splits, with_bins=True),
        "lightgbm": lambda: gradient_boosting(splits),
    }
    rows = [
        {"model": name, **{k: _rounded(v) for k, v in asdict(train()).items()}}
        for name, train in references.items()
        if name not in arguments.without
    ]
    if arguments.truth is not None:
        truth = json.loads(arguments.truth.read_text())
        rows.append(
            {"model": "best possible", "auc": f"{truth['auc']:.4f}",
             "log_loss": f"{truth['log_loss']:.4f}", "calibration": "1.0000", "seconds": "–",
             "note": "the teacher's own probabilities, all rows"}
        )  # fmt: skip
    print(table(rows))
    print(json.dumps({"benchmark": "quality", "machine": describe(), "rows": rows}))


def _rounded(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
