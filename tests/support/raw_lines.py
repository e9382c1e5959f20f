"""Small raw logs in Criteo's form, deterministic by seed."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from criteo_stream.base.schema import FEATURE_COLUMNS, LABEL
from criteo_stream.raw.beginning import Beginning, read_beginning
from criteo_stream.raw.chunks import Chunk
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.layouts import KAGGLE, Layout
from criteo_stream.raw.parse import ParsedChunk, parse_chunk

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".tsv": bytes,
    ".gz": gzip.compress,
    ".zst": lambda content: bytes(pa.Codec("zstd").compress(content, asbytes=True)),
}
"""How the content of a file with a suffix is written."""

VALID_LINE = b"\t".join([b"1", *[b"5"] * 13, *[b"0a1b2c3d"] * 26])


def raw_lines(rows: int, *, seed: int = 0, click_rate: float = 0.25) -> list[bytes]:
    """Valid labelled lines: skewed integers (I2 from -2 on), Zipf-like hashes, missing values."""
    random = np.random.default_rng(seed)
    columns = [np.where(random.random(rows) < click_rate, b"1", b"0")]
    for i in range(13):
        values = (random.pareto(1.0, rows) * 3 ** (i % 5)).astype(np.int64) - 2 * (i == 1)
        columns.append(_with_missing(random, values.clip(-2, 10**9).astype("S12"), i % 4 * 0.15))
    for i in range(26):
        ranks = random.zipf(1.3, rows).clip(1, 10 ** (1 + i % 5)).astype(np.uint64)
        hashes = (ranks * np.uint64(2654435761) + np.uint64(i * 97)) % np.uint64(2**32)
        texts = np.array([b"%08x" % h for h in hashes.tolist()])
        columns.append(_with_missing(random, texts, i % 3 * 0.2))
    return [b"\t".join(line) for line in zip(*(c.tolist() for c in columns), strict=True)]


def _with_missing(random: np.random.Generator, texts: np.ndarray, share: float) -> np.ndarray:
    return np.where(random.random(len(texts)) < share, b"", texts)


def reczoo_lines(lines: list[bytes]) -> list[bytes]:
    """The same rows as Criteo_x4 has them: commas, and a header."""
    return [",".join([LABEL, *FEATURE_COLUMNS]).encode(), *(x.replace(b"\t", b",") for x in lines)]


def kaggle_csv_lines(lines: list[bytes], *, label: bytes = b"Label,") -> list[bytes]:
    """The same rows with ids from 10,000,000 on, commas and a header, whose label may be gone."""
    header = b"Id," + label + ",".join(FEATURE_COLUMNS).encode()
    fields = [line if label else line.split(b"\t", 1)[1] for line in lines]
    rows = [b"%d,%s" % (10**7 + i, x.replace(b"\t", b",")) for i, x in enumerate(fields)]
    return [header, *rows]


def write_raw(path: Path, lines: list[bytes]) -> Path:
    """Write lines to a raw file."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def beginning_of(path: Path) -> Beginning:
    """What the first bytes of a raw file tell."""
    return read_beginning(RawInput(path))


def unlabelled(lines: list[bytes]) -> list[bytes]:
    """The same rows without their labels."""
    return [line.split(b"\t", 1)[1] for line in lines]


def with_field(number: int, value: bytes, line: bytes = VALID_LINE) -> bytes:
    """A line with one field replaced: 0 is the label, 1..13 integers, 14..39 categoricals."""
    fields = line.split(b"\t")
    fields[number] = value
    return b"\t".join(fields)


def parse(
    text: bytes, layout: Layout = KAGGLE, *, pad: bool = False, keep_id: bool = False
) -> ParsedChunk:
    """Parse a text whose last line ends."""
    chunk = Chunk(
        source=RawInput(Path("day.tsv")), first_line=0, lines=text.count(b"\n"), parts=[text]
    )
    return parse_chunk(chunk, layout, pad_short_lines=pad, keep_id=keep_id)
