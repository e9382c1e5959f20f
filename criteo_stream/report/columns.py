"""A description of each column: the fit's summary, and shares in the split of the report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID, MISSING_ID, OOV_ID
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.folder import DataFolder
from criteo_stream.data.loader import CriteoLoader
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.parquet import as_numpy
from criteo_stream.prepare.quantiles import QuantileTable
from criteo_stream.prepare.read_fit import read_fit_tables, verify_fit

_TOP: Final = 5
_CURVE_POINTS: Final = 101


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """One column; shares are of all rows, of the training split unless said otherwise."""

    column: str
    missing: float
    split_missing: float
    """Share in the split of the report."""
    distinct: int
    top: float
    """Share of the most frequent value."""
    top_five: float
    """Share of the five most frequent values."""


@dataclass(frozen=True, kw_only=True)
class IntegerFacts(ColumnFacts):
    """An integer column."""

    minimum: int | None
    mean: float | None
    maximum: int | None
    curve: list[tuple[float, int]]
    """Quantiles and their values, from the minimum to the maximum; empty without values."""


@dataclass(frozen=True, kw_only=True)
class CategoryFacts(ColumnFacts):
    """A categorical column."""

    known: int
    """Values with an id of their own."""
    oov: float
    split_oov: float
    """Share in the split of the report."""


def column_facts(
    data: Path, manifest: Manifest, dataset: CriteoDataset
) -> tuple[list[IntegerFacts], list[CategoryFacts]]:
    """Describe every column of a data set.

    Args:
        data: folder of the set.
        manifest: its manifest.
        dataset: a split of it, read once as a whole.

    Raises:
        DataSetError: a vocabulary, the quantile tables or a shard are missing or damaged.
    """
    verify_fit(data, manifest)
    folder = DataFolder(data)
    tables = read_fit_tables(data, manifest)
    ranked, counted = max(1, manifest.rows_ranked), max(1, manifest.rows_counted)
    no_value, no_category, oov = _split_shares(dataset)
    integers = [
        IntegerFacts(
            column=c.column,
            missing=c.missing / ranked,
            split_missing=float(no_value[i]),
            distinct=c.distinct,
            minimum=c.minimum,
            mean=c.mean,
            maximum=c.maximum,
            **_shares_of_top(np.sort(_value_counts(tables[c.column].table))[::-1], ranked),
            curve=quantile_curve(tables[c.column].table),
        )
        for i, c in enumerate(manifest.numeric)
    ]
    categories = [
        CategoryFacts(
            column=c.column,
            missing=c.missing / counted,
            split_missing=float(no_category[i]),
            distinct=c.distinct,
            known=c.ids - FIRST_KNOWN_ID,
            oov=c.oov / counted,
            split_oov=float(oov[i]),
            **_shares_of_top(
                _largest_counts(
                    folder.vocabulary(c.column), is_extended=manifest.extension is not None
                ),
                counted,
            ),
        )
        for i, c in enumerate(manifest.categorical)
    ]
    return integers, categories


def _split_shares(dataset: CriteoDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of missing integers [13], missing categories [26] and OOV [26] in a split."""
    no_value, no_category, oov = np.zeros(13), np.zeros(26), np.zeros(26)
    for (numeric, categorical), _ in CriteoLoader(dataset):
        no_value += numeric.isnan().sum(0).numpy()
        no_category += (categorical == MISSING_ID).sum(0).numpy()
        oov += (categorical == OOV_ID).sum(0).numpy()
    return no_value / dataset.rows, no_category / dataset.rows, oov / dataset.rows


def _value_counts(table: QuantileTable) -> np.ndarray:
    return table.up_to - table.below


def _largest_counts(vocabulary: Path, *, is_extended: bool) -> np.ndarray:
    """Counts of the most frequent values, falling: the first of the file, whatever its size.

    Those of an extended fit may be anywhere in it.
    """
    largest = np.empty(0, np.int64)
    with pq.ParquetFile(vocabulary.absolute()) as file:
        for batch in file.iter_batches(columns=["count"]):
            both = np.concatenate([largest, as_numpy(batch["count"])])
            largest = np.sort(both)[::-1][:_TOP]
            if not is_extended:
                break
    return largest


def _shares_of_top(counts: np.ndarray, rows: int) -> dict[str, float]:
    """Shares of the most frequent value and of the top five, from counts in descending order."""
    return {"top": float(counts[:1].sum()) / rows, "top_five": float(counts[:_TOP].sum()) / rows}


def quantile_curve(table: QuantileTable) -> list[tuple[float, int]]:
    """Quantiles from 0 to 1 and the values there; empty without values."""
    if not table.rows:
        return []
    quantiles = np.linspace(0, 1, _CURVE_POINTS)
    # The smallest value that so many rows are not above.
    places = np.searchsorted(table.up_to, np.maximum(1, np.ceil(quantiles * table.rows)))
    return list(zip(quantiles.tolist(), table.values[places].tolist(), strict=True))
