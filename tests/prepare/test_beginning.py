"""What is read of an input before its rows, and how often the input is opened for it."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from criteo_stream.base.errors import InputError
from criteo_stream.prepare import stage1_read
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.open_input import open_decompressed
from criteo_stream.report.inspection import inspect
from tests.support.data_sets import prepare
from tests.support.raw_lines import COMPRESS, beginning_of, raw_lines, reczoo_lines


def test_an_unreadable_file_is_told_in_words(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="no such input"),
        open_decompressed(RawInput(tmp_path / "gone")),
    ):
        pass
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        beginning_of(tmp_path)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_rows_are_estimated_from_a_sample(tmp_path: Path, suffix: str) -> None:
    lines = raw_lines(8000, seed=3) * 5
    path = tmp_path / f"log{suffix}"
    path.write_bytes(COMPRESS[suffix](b"".join(x + b"\n" for x in lines)))
    rows = beginning_of(path).estimated_rows
    assert rows == pytest.approx(40_000, rel=0.1 if suffix == ".zst" else 0.05)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened, by whatever part of the program, and ``parse``s."""
    events: list[str] = []
    path_open, stream_open = Path.open, pa.input_stream
    parse = stage1_read.parse_chunk

    def open_path(path: Path, *args: Any, **kwargs: Any) -> Any:
        events.append(path.name)
        return path_open(path, *args, **kwargs)

    def open_stream(source: str, *args: Any, **kwargs: Any) -> Any:
        events.append(Path(source).name)
        return stream_open(source, *args, **kwargs)

    def parse_chunk(*args: Any, **kwargs: Any) -> Any:
        events.append("parse")
        return parse(*args, **kwargs)

    monkeypatch.setattr(Path, "open", open_path)
    monkeypatch.setattr(pa, "input_stream", open_stream)
    monkeypatch.setattr(stage1_read, "parse_chunk", parse_chunk)
    return events


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("lines", [raw_lines(300), reczoo_lines(raw_lines(300))], ids=len)
@pytest.mark.parametrize("name", ["log.tsv", "log.gz"])
def test_an_input_is_opened_once_before_its_rows_are_read(
    tmp_path: Path, opened: list[str], name: str, lines: list[bytes]
) -> None:
    text = b"".join(line + b"\n" for line in lines)
    raw = tmp_path / name
    raw.write_bytes(gzip.compress(text) if name == "log.gz" else text)
    for split, counted in (("random", 0), ("tail", 1)):
        opened.clear()
        prepare(raw, tmp_path / split, min_count=1, split=split)
        found = [event for event in opened if event in (name, "parse")]
        # Its beginning, its lines where they must be counted, its rows.
        assert found == [name] * (1 + counted) + [name, "parse"]
    opened.clear()
    inspect(raw)
    assert opened == [name]
