"""What each choice brings: the defaults with one thing changed, over seeds and splits.

    python -m benchmarks.ablation RAW [--splits 5] [--seeds 3] [--only bins …] [--document FILE]

RAW is prepared once a split seed and minimal count; each setting is trained for every split and
seed, and compared with the defaults on the same split and seed, so that what splits and seeds have
in common cancels out. Figures are of the test split. Processes of one compute thread share the
cores. With ``--document`` the table replaces the one in that file.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final
from unittest import mock

from benchmarks.machine import table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

import torch
from torch import Tensor

from benchmarks.document import write_section
from criteo_stream import Trainer, preprocess
from criteo_stream.data.manifest import Manifest
from criteo_stream.models import FM
from criteo_stream.runs.config import ResolvedConfig, TrainConfig

WITHOUT_MISSING: Final = "missing imputed only"

Options = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """The defaults with one thing changed."""

    group: str
    name: str
    options: Options
    min_count: int | None = None


def settings(base: ResolvedConfig) -> list[Setting]:
    """Every setting that is tried, around the defaults of a data set."""

    def scaled(option: str, factors: Mapping[str, float]) -> Iterator[tuple[str, Options]]:
        for text, factor in factors.items():
            value = type(getattr(base, option))(getattr(base, option) * factor)
            yield f"{text} ({value:g})", {option: value}

    def plain(option: str, *values: Any) -> Iterator[tuple[str, Options]]:
        return ((str(value), {option: value}) for value in values if value != getattr(base, option))

    by_group: dict[str, Iterator[tuple[str, Options]]] = {
        "numeric": plain("numeric", "value", "bins", "both"),
        "missing": iter([(WITHOUT_MISSING, {})]),
        "bins": plain("bins", 8, 16, 32, 64, 128),
        "embedding_dim": plain("embedding_dim", 4, 8, 16, 32),
        "init_scale": plain("init_scale", 0.001, 0.01, 0.03, 0.1),
        "epsilon": plain("epsilon", 1e-8, 1e-5, 1e-4, 3e-4, 1e-3),
        "learning_rate": scaled("learning_rate", {"× ¼": 0.25, "× ½": 0.5, "× 2": 2}),
        "warmup": plain("warmup", 0.0, 0.02, 0.1),
        "l2_embedding": scaled("l2_embedding", {"× 0": 0, "× ⅓": 1 / 3, "× 3": 3, "× 10": 10}),
        "l2_linear": plain("l2_linear", 1e-5, 1e-4, 1e-3),
        "batch_size": scaled("batch_size", {"× ¼": 0.25, "× ½": 0.5, "× 2": 2, "× 4": 4}),
        "epochs": plain("epochs", 1, 2, 3, 4, 5),
    }
    found = [Setting("defaults", "", {})]
    found += [Setting(g, n, o) for g, tried in by_group.items() for n, o in tried]
    found += [Setting("min_count", str(c), {}, c) for c in (2, 5, 10, 20, 50)]
    return found


@contextmanager
def _without_missing_weight() -> Iterator[None]:
    """Have the FM see means in place of missing values, and nothing that tells them apart."""
    forward = FM.forward

    def imputed(self: FM, x_num: Tensor, x_cat: Tensor) -> Tensor:
        return forward(self, torch.where(x_num.isnan(), self.numeric_mean, x_num), x_cat)

    with mock.patch.object(FM, "forward", imputed):
        yield


def figures(data: Path, setting: Setting, seed: int) -> tuple[float, float]:
    """AUC and log loss of one training, on the test split."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(**setting.options, seed=seed)
        trainer = Trainer(data, Path(folder) / "run", config, workers=0, threads=1, quiet=True)
        with _without_missing_weight() if setting.name == WITHOUT_MISSING else nullcontext():
            trainer.fit()
            found = trainer.evaluate("test")
    assert found.auc is not None
    assert found.log_loss is not None
    return found.auc, found.log_loss


def prepared(raw: Path, folder: Path, split: int, min_count: int | None) -> Path:
    """The set of one split seed and minimal count, prepared once."""
    data = folder / f"{split}-{min_count}"
    preprocess(raw, data, seed=split, min_count=min_count, quiet=True)
    return data


def compared(
    tried: list[Setting], results: Mapping[tuple[int, int, int], tuple[float, float]], rounds: int
) -> list[dict[str, str]]:
    """A row of the table for each setting; ``results`` by (setting, split, seed)."""
    pairs = sorted({(split, seed) for _, split, seed in results})
    rows = []
    for number, setting in enumerate(tried):
        own = [results[number, *pair] for pair in pairs]
        base = [results[0, *pair] for pair in pairs]
        row = {"choice": setting.group, "value": setting.name}
        for place, figure in enumerate(("AUC", "log loss")):
            values = [figures[place] for figures in own]
            differences = [a[place] - b[place] for a, b in zip(own, base, strict=True)]
            row[figure] = f"{mean(values):.5f}"
            row[f"± {figure}"] = f"{stdev(values) if rounds > 1 else 0:.5f}"
            row[f"Δ {figure}"] = f"{mean(differences):+.5f}" if number else ""
            row[f"± Δ {figure}"] = (
                f"{stdev(differences) if rounds > 1 else 0:.5f}" if number else ""
            )
        rows.append(row)
    return rows


def main() -> None:
    """Measure; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("--splits", type=int, default=1, help="seeds of the split (default 1)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the training (default 1)")
    parser.add_argument("--only", nargs="+", help="groups of choices, such as bins")
    parser.add_argument("--document", type=Path, help="file whose table is replaced")
    parser.add_argument("--section", help="its mark in that file")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="criteo-stream-") as temporary,
        ProcessPoolExecutor(len(os.sched_getaffinity(0)), context) as pool,
    ):
        folder = Path(temporary)
        rows = Manifest.read(prepared(arguments.raw, folder, 0, None)).rows["train"]
        tried = [
            setting
            for setting in settings(TrainConfig().resolved(rows))
            if setting.group == "defaults" or not arguments.only or setting.group in arguments.only
        ]
        futures = {
            (number, split, seed): pool.submit(
                figures, prepared(arguments.raw, folder, split, setting.min_count), setting, seed
            )
            for number, setting in enumerate(tried)
            for split in range(arguments.splits)
            for seed in range(arguments.seeds)
        }
        results = {key: future.result() for key, future in futures.items()}
    rounds = arguments.splits * arguments.seeds
    compared_rows = compared(tried, results, rounds)
    text = (
        f"{rows:,} training rows, {arguments.splits} split(s) × {arguments.seeds} seed(s); "
        "± is the standard deviation; Δ against the defaults on the same split and seed.\n\n"
        f"{table(compared_rows)}"
    )
    print(text)
    if arguments.document:
        write_section(arguments.document, arguments.section or "ablation", text)
    print(json.dumps({**origin("ablation"), "rows": compared_rows}))


if __name__ == "__main__":
    main()
