"""A header is no row: a log with one prepares to the same set as without it."""

from pathlib import Path

import polars as pl

from tests.support.data_sets import prepare
from tests.support.raw_lines import raw_lines, reczoo_lines, write_raw

HEADER = reczoo_lines([])[0].replace(b",", b"\t")
LINES = raw_lines(400, seed=21)


def test_only_some_inputs_have_a_header(tmp_path: Path) -> None:
    shards = []
    for name, headers in (("neither", []), ("some", [HEADER])):
        folder = tmp_path / name
        folder.mkdir()
        logs = [
            write_raw(folder / "a.tsv", [*headers, *LINES[:250]]),
            write_raw(folder / "b.tsv", [*LINES[250:300], b"bad", *LINES[300:]]),
        ]
        prepare(logs, folder / "data", min_count=1, max_bad_rows=1)
        paths = sorted((folder / "data").glob("*/*.parquet"))
        shards.append({path.relative_to(folder): pl.read_parquet(path) for path in paths})
        assert '"line": 51,' in (folder / "data" / "rejected.jsonl").read_text()
    without, with_header = shards
    assert len(without) > 50
    assert without.keys() == with_header.keys()
    assert all(frame.equals(with_header[path]) for path, frame in without.items())
