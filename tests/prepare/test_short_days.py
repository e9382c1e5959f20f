"""Days of the 1TB logs that are cut short: named before they are read, complete ones never."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from criteo_stream.base.errors import InputError
from criteo_stream.prepare.short_days import short_by_size
from criteo_stream.raw import chunks, inputs
from criteo_stream.raw.inputs import RawInput
from criteo_stream.synthetic import write_synthetic
from tests.support.data_sets import content, prepare
from tests.support.paths import real_rows
from tests.support.raw_lines import beginning_of, raw_lines, reczoo_lines, write_raw

ROWS = 60_000  # of 243 bytes: more than the sample that the estimate is made from


def zstd(level: int) -> Callable[[bytes], bytes]:
    return lambda text: bytes(pa.Codec("zstd", compression_level=level).compress(text, True))


WRITTEN: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": ("day_0", bytes),
    "CRLF": ("day_0", lambda text: text.replace(b"\n", b"\r\n")),
    "gzip -1": ("day_0.gz", lambda text: gzip.compress(text, 1)),
    "gzip -6": ("day_0.gz", lambda text: gzip.compress(text, 6)),
    "gzip -9": ("day_0.gz", lambda text: gzip.compress(text, 9)),
    "zstd -1": ("day_0.zst", zstd(1)),
    "zstd -12": ("day_0.zst", zstd(12)),
    "decompressed, with its name": ("day_0.gz", bytes),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("log") / "log.tsv"
    write_synthetic(path, ROWS, layout="terabyte")
    return path.read_bytes()


def publish(monkeypatch: pytest.MonkeyPatch, *rows: int) -> None:
    """Let the first days have this many rows."""
    days = inputs._TERABYTE_DAY_ROWS
    monkeypatch.setattr(inputs, "_TERABYTE_DAY_ROWS", (*rows, *days[len(rows) :]))


@pytest.mark.parametrize("how", WRITTEN)
def test_a_complete_day_is_not_accused_and_a_tenth_of_it_is(
    how: str, log: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, written = WRITTEN[how]
    path = tmp_path / name
    path.write_bytes(written(log))
    publish(monkeypatch, ROWS)
    assert not short_by_size([beginning_of(path)], [[]])
    publish(monkeypatch, 10 * ROWS)
    (_, named, advice) = short_by_size([beginning_of(path)], [[]])
    assert named.startswith(f"  {path}: ")
    assert named.endswith(" rows; the complete day has 600,000")
    assert "download" in advice
    assert "--restart" in advice


def test_a_header_makes_no_day_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_raw(tmp_path / "day_0", reczoo_lines(raw_lines(300)))
    publish(monkeypatch, 300)
    assert not short_by_size([beginning_of(path)], [[]])


@pytest.mark.parametrize(
    ("compression", "size", "short"),
    [
        ("gzip", 15_927_304 * 1024, False),  # published, as `du` counts
        ("gzip", 1_600_000_000, True),  # of the downloads that were cut short
        (None, 48_603_344 * 1024, False),
        (None, 40_000_000 * 1024, True),
    ],
)
def test_the_published_sizes_of_a_real_day(compression: str | None, size: int, short: bool) -> None:
    rows = beginning_of(real_rows("criteo_1tb_day0_dev.tsv.gz"))
    day = replace(
        rows,
        source=RawInput(Path("day_0")),
        compression=compression,
        file_bytes=size,
        expansion=rows.expansion if compression else 1.0,
    )
    assert bool(short_by_size([day], [[]])) == short


def test_other_files_and_more_days_are_left_alone(tmp_path: Path) -> None:
    paths = [write_raw(tmp_path / name, raw_lines(3)) for name in ("log.tsv", "day_24", "day_x")]
    assert not short_by_size([beginning_of(path) for path in paths], [[], [], []])


def test_however_many_days_are_short_the_warning_is_bounded(tmp_path: Path) -> None:
    folders = [tmp_path / str(i) for i in range(3)]
    for folder in folders:
        folder.mkdir()
    paths = [write_raw(f / f"day_{i}", raw_lines(2)) for f in folders for i in range(24)]
    lines = short_by_size([beginning_of(path) for path in paths], [[]] * 72)
    assert len(lines) == 26
    assert lines[-2] == "  … and 49 more"
    assert len(short_by_size([beginning_of(path) for path in paths[:24]], [[]] * 24)) == 26


def test_a_short_day_is_named_before_it_is_read_and_its_rows_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = raw_lines(1000)
    days = [write_raw(tmp_path / f"day_{i}", lines[300 * i : 300 * i + 300]) for i in range(3)]
    publish(monkeypatch, 300, 1_000, 301)
    result = prepare(days, tmp_path / "data", min_count=1, quiet=False)
    told = capsys.readouterr().err.splitlines()
    at = told.index("warning: days of the 1TB logs that look cut short, by their sizes:")
    assert told[at + 1].startswith(f"  {days[1]}: ")
    assert told[at + 1].endswith(" about 300 rows; the complete day has 1,000")
    assert told[at + 2].startswith("  If that is not meant, ")
    assert told[at + 3].startswith("read: ")
    # Day 2 lacks one row, which no size tells.
    assert [w.split(": ")[0] for w in result.warnings] == [
        f"{days[1]} has 300 lines, the complete day has 1,000",
        f"{days[2]} has 300 lines, the complete day has 301",
    ]
    prepare(days, tmp_path / "data", min_count=1, quiet=False)
    assert "cut short" not in capsys.readouterr().err  # nothing is read any more


@pytest.mark.usefixtures("no_waiting_for_the_disk")
def test_the_advice_is_true(log: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read stays read where a day comes whole; a day read to its end needs a restart."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1 << 20)
    day, whole = tmp_path / "day_0.gz", gzip.compress(log, mtime=0)
    options: dict[str, Any] = {"block_rows": 10_000, "min_count": 1}
    day.write_bytes(whole[: len(whole) * 4 // 5])
    with pytest.raises(InputError, match="cut short"):
        prepare(day, tmp_path / "data", **options)
    day.write_bytes(whole)
    assert prepare(day, tmp_path / "data", **options).resumed
    prepare(day, tmp_path / "fresh", **options)
    assert content(tmp_path / "data") == content(tmp_path / "fresh")
    day.write_bytes(gzip.compress(log + log[: log.index(b"\n") + 1], mtime=0))
    with pytest.raises(InputError, match=r"changed since the data set was made .* --restart"):
        prepare(day, tmp_path / "data", **options)
    assert not prepare(day, tmp_path / "data", restart=True, **options).resumed
