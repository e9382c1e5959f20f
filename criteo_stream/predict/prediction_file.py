"""The file that predictions are written to, and the list of lines that got none."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
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


PredictionFormat = Literal["rows", "kaggle"]
FORMATS: Final = get_args(PredictionFormat)
PREDICTED: Final = "Predicted"
"""Column of the probabilities in a Kaggle submission."""
_FIRST_TEST_ID: Final = 60_000_000
"""Of Kaggle's test set, whose ``test.txt`` has no ids: there they count on from here."""
_KAGGLE: Final = pa.schema(
    [pa.field(ID, pa.int64(), nullable=False), pa.field(PREDICTED, pa.float32(), nullable=False)]
)


def schema_of(layout: Layout, form: PredictionFormat = "rows") -> pa.Schema:
    """Columns of the predictions of a layout's rows.

    In ``rows``, ``Id`` and ``label`` are there where the layout has them.
    """
    if form == "kaggle":
        return _KAGGLE
    names = [name for name in _TYPES if name not in (ID, LABEL) or name in layout.leading]
    return pa.schema([pa.field(name, _TYPES[name], nullable=False) for name in names])


def table_of(
    schema: pa.Schema,
    rows: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    frame: pl.DataFrame,
) -> pa.Table:
    """Predictions as the columns of a schema.

    Args:
        schema: of `schema_of`.
        rows: places of the rows in all inputs, from 0.
        probabilities: of a click.
        frame: the rows as they were parsed; ids that it lacks are numbered as Kaggle's test set.
    """
    columns = {"row": rows, "probability": probabilities, PREDICTED: probabilities}
    if ID not in frame.columns:
        columns[ID] = rows + _FIRST_TEST_ID
    columns |= {n: frame[n].to_numpy() for n in schema.names if n not in columns}
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


@contextmanager
def open_writer(path: Path, suffix: str, schema: pa.Schema) -> Iterator[Any]:
    """A writer of tables, by the suffix of the final name."""
    if suffix == ".parquet":
        with pq.ParquetWriter(path, schema) as writer:
            yield writer
    elif schema != _KAGGLE:
        with pyarrow.csv.CSVWriter(path, schema) as writer:
            yield writer
    else:
        with path.open("wb") as file:
            # By hand: Arrow puts the names in quotes, which not every reader takes.
            file.write(b",".join(name.encode() for name in schema.names) + b"\n")
            without = pyarrow.csv.WriteOptions(include_header=False)
            with pyarrow.csv.CSVWriter(file, schema, write_options=without) as writer:
                yield writer


def rejected_file(out: Path) -> Path:
    """Where the lines that have no prediction are listed."""
    return out.with_name(f"{out.name}.rejected.jsonl")


def refuse_to_replace(
    out: Path, sources: Sequence[RawInput], form: PredictionFormat = "rows"
) -> None:
    """Refuse to overwrite anything but earlier predictions.

    Raises:
        UsageError: ``out`` is of a kind that is unknown or not of the format, or an input.
        OutputError: it is a file that holds no predictions.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"{out} must end in {' or '.join(SUFFIXES)}")
    if form == "kaggle" and out.suffix != ".csv":
        raise UsageError(f"--format kaggle writes CSV: let --out {out} end in .csv")
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
    if found == _KAGGLE.names:
        return True
    return {"row", "probability"} <= set(found) and found == [n for n in _TYPES if n in found]
