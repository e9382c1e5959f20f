"""How fast shards are written and read, and batches made of them, on one core.

    python -m benchmarks.loader [--quick] [--data DATA]

Two tables: settings of the Parquet writer (the first is the one in use), and a set read back, its
row groups alone and as shuffled batches end to end. Rates are medians of alternating repetitions,
in million rows per second, by the clock and, for a machine shared with others, by CPU time. Without
``--data`` the rows are made up: ids follow Zipf laws over Kaggle's column sizes at min_count 10,
numeric values are quantiles of log-normal integers. Prints Markdown, and the same figures as one
line of JSON at the end.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.machine import describe, table  # isort: skip (before torch)
from benchmarks.record import origin  # isort: skip (before torch)

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, ROW_GROUP_ROWS
from criteo_stream.base.storage import file_crc32
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.data.manifest import CategoricalColumn, InputEntry, Manifest, NumericColumn
from criteo_stream.data.shards import SHARD_SCHEMA, ShardReader, row_group_sizes, write_shard

# fmt: off
KAGGLE_IDS: Final = (
    1462, 560, 330_000, 110_000, 270, 20, 11_500, 610, 5, 40_000, 5200, 290_000, 3150,
    28, 12_000, 160_000, 13, 4600, 2000, 6, 290_000, 18, 17, 60_000, 90, 40_000,
)
# fmt: on
"""About the ids of C1..C26 in Kaggle's rows at min_count 10: 1.36 million."""
OOV_SHARE: Final = {2: 0.32, 3: 0.2, 11: 0.3, 15: 0.25, 20: 0.3}
MISSING_SHARE: Final = {18: 0.44, 19: 0.44, 21: 0.76, 24: 0.44, 25: 0.44}

Columns = list[npt.NDArray[Any]]


@dataclass
class Timing:
    """Every repetition of something done to ``rows`` rows."""

    rows: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], object]) -> None:
        """Repeat once more."""
        start, cpu_start = time.perf_counter(), time.process_time()
        work()
        self.seconds.append(time.perf_counter() - start)
        self.cpu_seconds.append(time.process_time() - cpu_start)

    def rates(self, name: str) -> dict[str, float]:
        """Medians, million rows per second, by the clock and by the CPU time of this process."""
        return {
            name: self.rows / median(self.seconds) / 1e6,
            f"{name} (CPU)": self.rows / median(self.cpu_seconds) / 1e6,
        }


def zipf_columns(rows: int, seed: int = 0) -> Columns:
    """Encoded rows as the columns of a shard."""
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.256).astype(np.uint8)
    return [
        label,
        *(_quantiles(random, rows, spread) for spread in np.linspace(0.6, 2.6, 13)),
        *(_ids(random, rows, column, count) for column, count in enumerate(KAGGLE_IDS)),
    ]


def _ids(random: np.random.Generator, rows: int, column: int, count: int) -> npt.NDArray[np.int32]:
    weights = 1 / np.arange(3, count + 1) ** (1.15 if count < 20_000 else 0.95)
    bounds = np.cumsum(weights / weights.sum())
    ids = np.searchsorted(bounds[:-1], random.random(rows)).astype(np.int32) + 2
    chance = random.random(rows)
    oov = OOV_SHARE.get(column, 0.001)
    ids[chance < oov] = 0
    ids[(chance >= oov) & (chance < oov + MISSING_SHARE.get(column, 0.0))] = 1
    return ids


def _quantiles(random: np.random.Generator, rows: int, spread: float) -> npt.NDArray[np.float32]:
    values = random.lognormal(2 * spread, spread, rows).astype(np.int64)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    quantiles = ((2 * ends - counts - 1) / 2 / (rows - 1)).astype(np.float32)[place]
    quantiles[random.random(rows) < 0.15] = np.nan
    return quantiles


def writer_settings() -> dict[str, dict[str, Any]]:
    """Settings of `pyarrow.parquet.ParquetWriter` worth comparing; the first is in use."""
    features = [*INTEGER_COLUMNS, *CATEGORICAL_COLUMNS]
    plain = {"use_dictionary": False, "compression": "none"}
    delta = dict.fromkeys(CATEGORICAL_COLUMNS, "DELTA_BINARY_PACKED")
    split = dict.fromkeys(features, "BYTE_STREAM_SPLIT")
    return {
        "delta ids, plain values": plain | {"column_encoding": delta},
        "plain": plain,
        "plain, lz4": plain | {"compression": "lz4"},
        "plain, zstd 1": plain | {"compression": "zstd", "compression_level": 1},
        "byte stream split, lz4": plain | {"compression": "lz4", "column_encoding": split},
        "dictionary": plain | {"use_dictionary": True},
        "dictionary, lz4": {"use_dictionary": True, "compression": "lz4"},
    }


def compare_writers(folder: Path, columns: Columns, repetitions: int) -> list[dict[str, Any]]:
    """Bytes a row, and rates of writing (checksum included) and of decoding to row arrays."""
    path = folder / "setting.parquet"
    rows = len(columns[0])
    shard = pa.Table.from_arrays([pa.array(c) for c in columns], schema=SHARD_SCHEMA)
    settings = writer_settings()
    writing = {name: Timing(rows) for name in settings}
    reading = {name: Timing(rows) for name in settings}
    sizes = {}

    def write(options: dict[str, Any]) -> None:
        with pq.ParquetWriter(path, SHARD_SCHEMA, write_statistics=False, **options) as writer:
            writer.write_table(shard, ROW_GROUP_ROWS)
        file_crc32(path)

    write({})  # code and memory come in once
    for _ in range(repetitions):
        for name, options in settings.items():
            writing[name].run(lambda options=options: write(options))  # type: ignore[misc]
            reading[name].run(lambda: _read_arrays(path))
            sizes[name] = path.stat().st_size / rows
    return [
        {
            "setting": name,
            "bytes a row": sizes[name],
            **writing[name].rates("write + checksum"),
            **reading[name].rates("read"),
        }
        for name in settings
    ]


def _read_arrays(path: Path) -> None:
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        columns = [c.chunk(0).to_numpy() for c in file.read_row_group(group, use_threads=False)]
        for part, dtype in ((columns[1:14], np.float32), (columns[14:], np.int32)):
            np.stack(part, axis=1, out=np.empty((len(columns[0]), len(part)), dtype))


def make_set(folder: Path, columns: Columns, shards: int) -> Path:
    """A data set of the same rows in several shards."""
    (folder / "train").mkdir()

    def row_groups() -> Iterator[Columns]:
        for start in range(0, len(columns[0]), ROW_GROUP_ROWS):
            yield [column[start : start + ROW_GROUP_ROWS] for column in columns]

    entries = [
        write_shard(folder / "train" / f"part-{number:05}.parquet", row_groups())
        for number in range(shards)
    ]
    rows = sum(entry.rows for entry in entries)
    Manifest(
        package_version="benchmark",
        layout="kaggle",
        options={},
        inputs=[InputEntry(path="/raw", name="raw", bytes=0, mtime_ns=0, crc32="0" * 8, rows=rows)],
        rows={"train": rows, "valid": 0, "test": 0, "rejected": 0, "read": rows},
        row_group_rows=ROW_GROUP_ROWS,
        min_count=10,
        numeric=[
            NumericColumn(
                column=column,
                missing=0,
                distinct=1,
                minimum=0,
                maximum=0,
                mean=0.0,
                mean_quantile=0.5,
                rank_error=0.0,
            )
            for column in INTEGER_COLUMNS
        ],
        categorical=[
            CategoricalColumn(column=column, missing=0, distinct=ids, oov=0, ids=ids)
            for column, ids in zip(CATEGORICAL_COLUMNS, KAGGLE_IDS, strict=True)
        ],
        fit_files=[],
        fit_fingerprint="0" * 16,
        shards={"train": entries, "valid": [], "test": []},
    ).write(folder)
    return folder


def compare_reading(data: Path, repetitions: int, batch_sizes: list[int]) -> list[dict[str, Any]]:
    """Rates of decoding every row group, and of whole batches by the loader."""
    manifest = Manifest.read(data)
    rows = manifest.rows["train"]
    cases: dict[str, Callable[[], None]] = {
        "decode row groups": lambda: _decode(data, manifest),
    }
    for batch_size in batch_sizes:
        for workers in (0, 1):
            name = f"shuffled batches of {batch_size:,}, {workers} threads"
            cases[name] = lambda b=batch_size, w=workers: _batches(data, b, w)  # type: ignore[misc]
    timings = {name: Timing(rows) for name in cases}
    for name in cases:
        cases[name]()  # files into the page cache, code into memory
    for _ in range(repetitions):
        for name, work in cases.items():
            timings[name].run(work)
    return [{"what": name, **timing.rates("rows/s")} for name, timing in timings.items()]


def _decode(data: Path, manifest: Manifest) -> None:
    shards = manifest.shards["train"]
    reader = ShardReader(data, shards, manifest.row_group_rows, manifest.categories, verified=None)
    for group in range(len(row_group_sizes(shards, manifest.row_group_rows))):
        reader.read(group)
    reader.close()


def _batches(data: Path, batch_size: int, workers: int) -> None:
    dataset = CriteoDataset(data, batch_size=batch_size, verify=False)
    assert sum(len(label) for _, label in CriteoLoader(dataset, workers)) == dataset.rows


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows, under 25 s")
    parser.add_argument("--data", type=Path, help="a prepared set, in place of made-up rows")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    machine = describe()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    rows = 4 * ROW_GROUP_ROWS if options.quick else 16 * ROW_GROUP_ROWS
    result: dict[str, Any] = {
        **origin("loader", machine),
        "repetitions": options.repetitions,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        columns = zipf_columns(rows)
        result["writers"] = compare_writers(folder, columns, options.repetitions)
        data = options.data or make_set(folder, columns, shards=8)
        result["reading"] = compare_reading(
            data, options.repetitions, [8192] if options.quick else [2048, 8192, 65536]
        )
    print("Writing and reading a shard, by setting; M rows/s, one core:\n")
    print(table(result["writers"]))
    print("\nReading a set; M rows/s, one core:\n")
    print(table(result["reading"]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
