"""Other tools and ours, from the same raw lines to predictions for the same test rows.

    python -m benchmarks.peers [RAW] [--rows 2M] [--only fuxictr vw] [--install] [--document FILE]

The raw file (default: synthetic rows) is cut into training, valid and test lines, 8 : 1 : 1 by
blocks of 1,000 lines. Every tool prepares them in its own way, converters of ours included, trains
once with the settings that its documentation has for Criteo (`peer_runs.peers` states them all),
and writes a probability for every test row; labels must come back in order. Measured are

* prepare: all rows over the seconds from raw lines to what training reads;
* train: training rows over the seconds from there to a trained model, whatever the tool does with
  them (loading, passes, validation, saving);
* the peak of the process tree in each stage, ``Pss_Anon + Pss_Shmem``;
* how many cores other processes kept busy meanwhile: rates are sound only where that is near 0;
* AUC and log loss of the test rows by scikit-learn.

The tools' pins contradict each other's and ours (NumPy, Polars, torch), so every peer has an
environment of its own below ``--environments``, made by ``--install`` with pinned versions. Only
LightGBM could share ours: ``pip install 'criteo-stream[peers]'`` is for `benchmarks.quality`.
Peers without their environment are skipped, and one that fails is shown with its message. With
``--results DIR`` figures are kept as JSON, and the table has those of earlier calls on the same
rows too, so that each peer can be measured alone.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.document import write_section
from benchmarks.peer_runs import environments
from benchmarks.peer_runs.hand_over import PREDICTIONS, Task
from benchmarks.peer_runs.peers import PEERS, Peer
from benchmarks.peer_runs.process import watch
from benchmarks.peer_runs.rows import Parts, labels
from criteo_stream.base.amounts import format_size, parse_rows
from criteo_stream.synthetic import write_synthetic

ROOT: Final = Path(__file__).parents[1]
STAGES: Final = ("prepare", "train")
ENVIRONMENT: Final = {
    "PYTHONPATH": str(ROOT),
    "GOMP_SPINCOUNT": "1000",  # the same for all; threads that spin cost most where processes share
    "RAY_USAGE_STATS_ENABLED": "0",
}


def figures_of(predictions: Path, test: Path) -> dict[str, float]:
    """Figures of what a peer predicted.

    Raises:
        ValueError: these are no probabilities of the test rows in their order.
    """
    found = pq.read_table(predictions)
    probability = found["probability"].to_numpy()
    truth = np.frombuffer(labels(test), np.uint8)
    if not np.array_equal(found["label"].to_numpy(), truth):
        raise ValueError(f"its {len(found):,} labels are not those of the {len(truth):,} test rows")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("not all of its predictions are probabilities")
    return {
        "auc": float(roc_auc_score(truth, probability)),
        "log_loss": float(log_loss(truth, probability)),
    }


def measure(peer: Peer, python: Path, parts: Parts, folder: Path, limit: float) -> dict[str, Any]:
    """Run a peer's stages; its figures, or under ``error`` why there are none."""
    folder.mkdir()
    found: dict[str, Any] = {"peer": peer.title, "settings": peer.settings}
    task = Task(folder, parts.train, parts.valid, parts.test, peer.settings)
    task.write(folder / "task.json")
    rows = {"prepare": sum(parts.rows.values()), "train": parts.rows["train"]}
    for stage in STAGES:
        command = [str(python), "-m", f"benchmarks.peer_runs.{peer.runner}", stage, "task.json"]
        ended = watch(command, folder, ENVIRONMENT, limit)
        if ended.error:
            return found | {"error": f"{stage}: {ended.error}"}
        told = json.loads((folder / f"{stage}.json").read_text())
        found[stage] = {
            "seconds": told["seconds"],
            "rows_per_second": rows[stage] / told["seconds"],
            "peak_memory_bytes": ended.peak_bytes,
            "cores_of_others": ended.others,
        }
        found["versions"] = told["versions"]
    try:
        return found | figures_of(folder / PREDICTIONS, parts.test)
    except ValueError as error:
        return found | {"error": f"predict: {error}"}


def compared(
    names: Sequence[str], parts: Parts, folder: Path, home: Path, limit: float
) -> dict[str, dict[str, Any]]:
    """Measure peers in turn; those without their environment are told as skipped."""
    results = {}
    for name in names:
        peer = PEERS[name]
        python, why = Path(sys.executable), ""
        if peer.environment is not None:
            python = environments.interpreter(home, peer.environment).absolute()
            why = environments.missing(home, peer.environment)
        found = (
            {"peer": peer.title, "settings": peer.settings, "error": why}
            if why
            else measure(peer, python, parts, folder / name, limit)
        )
        print(f"{name}: {found.get('error') or 'done'}", file=sys.stderr, flush=True)
        results[name] = found
    return results


def tables(results: dict[str, dict[str, Any]], truth: dict[str, Any] | None = None) -> str:
    """Figures, then versions and settings, as Markdown; `truth` has the best possible ones."""
    figures: list[dict[str, Any]] = []
    settings: list[dict[str, Any]] = []
    if not results:
        return "no results"
    for name in (name for name in PEERS if name in results):
        found, peer = results[name], PEERS[name]
        row = {"tool": peer.title}
        for stage in STAGES:
            told = found.get(stage)
            row[f"{stage} rows/s"] = f"{told['rows_per_second']:,.0f}" if told else ""
            row[f"{stage} peak"] = format_size(told["peak_memory_bytes"]) if told else ""
        busy = [found[stage]["cores_of_others"] for stage in STAGES if stage in found]
        row["cores of others"] = f"{max(busy):.1f}" if busy else ""
        row["test AUC"] = f"{found['auc']:.4f}" if "auc" in found else found["error"]
        row["test log loss"] = f"{found['log_loss']:.4f}" if "log_loss" in found else ""
        figures.append(row)
        versions = found.get("versions") or {"": "not run"}
        settings.append(
            {
                "tool": peer.title,
                "versions": ", ".join(f"{package} {v}".strip() for package, v in versions.items()),
                "preparation": peer.preparation,
                "training": peer.training,
            }
        )
    if truth:
        best = {"tool": "best possible, all rows", "test AUC": f"{truth['auc']:.4f}"}
        best["test log loss"] = f"{truth['log_loss']:.4f}"
        figures.append({key: best.get(key, "") for key in figures[0]})
    return f"{table(figures)}\n\n{table(settings)}"


def kept(folder: Path | None, digest: str, results: dict[str, Any]) -> dict[str, Any]:
    """Keep results, and add those of other peers on the same rows."""
    if folder is None:
        return results
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in results.items():
        text = json.dumps({"rows_sha256": digest, **found}, indent=1)
        (folder / f"{name}.json").write_text(text + "\n")
    earlier = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return {n: found for n, found in earlier.items() if found["rows_sha256"] == digest} | results


def main() -> None:
    """Measure; Markdown, then one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("raw", type=Path, nargs="?", help="plain raw file; default synthetic rows")
    parser.add_argument("--rows", default="2M", help="synthetic rows, without RAW")
    parser.add_argument("--truth", type=Path, help="truth.json of a synthetic RAW")
    parser.add_argument("--only", nargs="*", choices=PEERS, default=list(PEERS), metavar="NAME",
                        help=f"of {', '.join(PEERS)}; none shows --results only")  # fmt: skip
    parser.add_argument("--environments", type=Path, default=Path(".peer-environments"))
    parser.add_argument("--install", action="store_true", help="make the environments first")
    parser.add_argument("--results", type=Path, help="folder of figures, kept and shown again")
    parser.add_argument("--limit", type=float, default=1200, help="seconds of a stage")
    parser.add_argument("--document", type=Path, help="file whose table is replaced")
    parser.add_argument("--section", default="peers", help="its mark in that file")
    arguments = parser.parse_args()
    if arguments.install:
        for name in dict.fromkeys(PEERS[name].environment for name in arguments.only):
            if name and (why := environments.install(arguments.environments, name)):
                print(f"{name}: {why}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="criteo-stream-") as temporary:
        folder = Path(temporary)
        raw = arguments.raw or folder / "rows.tsv"
        truth = json.loads(arguments.truth.read_text()) if arguments.truth else None
        if arguments.raw is None:
            truth = write_synthetic(raw, parse_rows(arguments.rows))
        with raw.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        parts = Parts.cut(raw, folder)
        results = compared(arguments.only, parts, folder, arguments.environments, arguments.limit)
    results = kept(arguments.results, digest, results)
    rows = ", ".join(f"{count:,} {name}" for name, count in parts.rows.items())
    text = (
        f"{rows} rows, {len(results)} peers\n\n{tables(results, truth)}"
        if results
        else "no results"
    )
    print(text)
    if arguments.document:
        write_section(arguments.document, arguments.section, text)
    print(json.dumps({**origin("peers"), "rows": parts.rows,
                      "peers": results}))  # fmt: skip


if __name__ == "__main__":
    main()
