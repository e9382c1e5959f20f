"""The file that predictions are written to, and the list of lines that got none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.schema import LABEL
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.layouts import ID, Layout

SUFFIXES: Final = (".parquet", ".csv")
_TYPES: Final = {
    "row": pa.int64(),
    ID: pa.int64(),
    "probability": pa.float32(),
    LABEL: pa.uint8(),
}


def schema_of(layout: Layout) -> pa.Schema:
    """Columns of the predictions of a layout's rows: ``Id`` and ``label`` where it has them."""
    names = [name for name in _TYPES if name not in (ID, LABEL) or name in layout.leading]
    return pa.schema([pa.field(name, _TYPES[name], nullable=False) for name in names])


def open_writer(path: Path, suffix: str, schema: pa.Schema) -> Any:
    """A writer of tables, by the suffix of the final name."""
    if suffix == ".csv":
        return pyarrow.csv.CSVWriter(path, schema)
    return pq.ParquetWriter(path, schema)


def rejected_file(out: Path) -> Path:
    """Where the lines that have no prediction are listed."""
    return out.with_name(f"{out.name}.rejected.jsonl")


def refuse_to_replace(out: Path, sources: Sequence[RawInput]) -> None:
    """Refuse to overwrite anything but earlier predictions.

    Raises:
        UsageError: ``out`` is of an unknown kind, or one of the inputs.
        OutputError: it is a file that holds no predictions.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"{out} must end in {' or '.join(SUFFIXES)}")
    files = [source.path for source in sources if not source.is_stream]
    for path in (out, rejected_file(out)):
        if path.exists() and any(path.samefile(file) for file in files):
            what = f"--out {out}" if path == out else f"{path}, written beside --out {out},"
            raise UsageError(f"{what} is one of the inputs: choose another --out")
    if out.exists() and not _holds_predictions(out):
        raise OutputError(f"{out} exists and holds no predictions: choose another --out")


def _holds_predictions(path: Path) -> bool:
    try:
        if path.suffix == ".csv":
            with path.open("rb") as file:
                found = [name.strip('"') for name in file.readline(200).decode().strip().split(",")]
        else:
            with path.open("rb") as file:
                found = pq.read_schema(file).names
    except (OSError, ValueError):  # Arrow's errors are both
        return False
    return {"row", "probability"} <= set(found) and found == [n for n in _TYPES if n in found]
