"""Parquet files that must hold exactly the columns that we write."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from criteo_stream.base.errors import DataSetError


def read_parquet(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a small file of known columns, or some of them.

    Raises:
        DataSetError: it is missing, or cannot be read.
        ValueError: it has other columns than the schema, or nulls where it has none.
    """
    try:
        with path.open("rb") as source, pq.ParquetFile(source) as file:
            if not file.schema_arrow.remove_metadata().equals(schema):
                raise ValueError(f"its columns are {', '.join(file.schema_arrow.names)[:200]}")
            table = file.read(columns)
    except (pa.ArrowException, OSError) as error:
        raise DataSetError(
            f"{path} cannot be read ({error}): restore it or prepare the set again"
        ) from None
    for field in table.schema:
        if not schema.field(field.name).nullable and table[field.name].null_count:
            raise ValueError(f"{field.name} has gaps")
    return table
