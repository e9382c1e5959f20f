"""What a preparation holds in memory is bounded by its budget, whatever the values are."""

import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from criteo_stream.prepare import stage1_read
from criteo_stream.prepare.memory_budget import MemoryBudget
from criteo_stream.prepare.scratch import CodedColumn, code_column
from tests.support.data_sets import prepare
from tests.support.raw_lines import raw_lines, write_raw


@pytest.mark.parametrize("workers", [1, 2])
def test_a_few_coded_columns_are_held_at_a_time(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: weakref.WeakSet[CodedColumn] = weakref.WeakSet()
    most = 0

    def counted(*args: Any, **kwargs: Any) -> CodedColumn:
        nonlocal most
        coded = code_column(*args, **kwargs)
        held.add(coded)
        most = max(most, len(held))
        return coded

    # Kept by identity, not by content.
    monkeypatch.setattr(CodedColumn, "__hash__", object.__hash__)
    monkeypatch.setattr(CodedColumn, "__eq__", object.__eq__)
    monkeypatch.setattr(stage1_read, "code_column", counted)
    raw = write_raw(tmp_path / "log.tsv", raw_lines(400))
    prepare(raw, tmp_path / "data", block_rows=200, workers=workers)
    budget = MemoryBudget(total_bytes=10**9, workers=workers)
    assert 1 <= most <= budget.columns_in_flight + 1  # and the one that is written


def test_fewer_blocks_are_encoded_at_a_time_where_they_are_large() -> None:
    budget = MemoryBudget(total_bytes=2 * 10**9, workers=8)
    assert budget.threads == 8
    assert budget.blocks_in_flight(10**8) == 8
    assert budget.blocks_in_flight(5 * 10**8) == 2
    assert budget.blocks_in_flight(10**10) == 1


def write_distinct(path: Path, rows: int) -> None:
    """Rows in whose 39 columns no value is there twice."""
    number = np.arange(rows, dtype=np.uint32) * np.uint32(2654435761)
    with path.open("w") as file:
        for value in number.tolist():
            integers = "\t".join(str((value + i) % 2**31) for i in range(13))
            hashes = "\t".join(f"{value ^ i:08x}" for i in range(26))
            file.write(f"{value & 1}\t{integers}\t{hashes}\n")


MEASURED = """
import json, sys
from criteo_stream.prepare.pipeline import preprocess
memory, workers, raw, out = sys.argv[1:]
result = preprocess(raw, out, memory=memory, workers=int(workers), min_count=1, quiet=True)
print(json.dumps(result.to_dict()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_memory_stays_within_the_budget_whatever_the_values(tmp_path: Path, workers: int) -> None:
    rows = 2_200_000  # two whole blocks: one is coded while the next one is read
    raw = tmp_path / "log.tsv"
    write_distinct(raw, rows)
    command = [sys.executable, "-c", MEASURED, "1GB", str(workers), raw, tmp_path / "data"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures = json.loads(done.stdout)
    assert figures["rows"]["read"] == rows
    assert figures["peak_memory_bytes"] <= 1.1e9
