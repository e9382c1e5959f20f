"""Parquet files that must hold exactly the columns that we write."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from criteo_stream.base.errors import DataSetError


@contextmanager
def opened_parquet(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """Open a file of known columns.

    Raises:
        DataSetError: it is missing, or cannot be read, now or in the block.
        ValueError: it has other columns than the schema.
    """
    try:
        with path.open("rb") as source, pq.ParquetFile(source) as file:
            if not file.schema_arrow.remove_metadata().equals(schema):
                raise ValueError(f"its columns are {', '.join(file.schema_arrow.names)[:200]}")
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataSetError(
            f"{path} cannot be read ({error}): restore it or prepare the set again"
        ) from None


def read_parquet(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a small file of known columns.

    Raises:
        DataSetError: it is missing, or cannot be read.
        ValueError: it has other columns than the schema, or nulls where it has none.
    """
    with opened_parquet(path, schema) as file:
        table = file.read()
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"{field.name} has gaps")
    return table


def as_numpy(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column as NumPy's; with gaps as floats.

    Arrow's own way loads pandas where it is installed, which takes a second.
    """
    return pl.Series(column).to_numpy()
