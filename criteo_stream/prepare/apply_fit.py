"""Parsed rows to ids and quantiles: the fit of a finished set, loaded and applied to a frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from criteo_stream.base.reserved_ids import MISSING_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.quantiles import FastTransform
from criteo_stream.prepare.read_fit import read_fit_tables, read_fit_vocabularies, verify_fit
from criteo_stream.prepare.value_ids import HashedLookup, Lookup

_MISSING_QUANTILE: Final = np.float32(np.nan)


@dataclass(frozen=True)
class Encoder:
    """A fit in memory, ready to be applied."""

    transforms: dict[str, FastTransform]
    """Per integer column."""
    lookups: dict[str, Lookup]
    """Per categorical column."""

    def numeric(self, frame: pl.DataFrame) -> list[npt.NDArray[np.float32]]:
        """Quantiles of I1..I13, float32 [n] each, NaN for missing."""
        return [self._quantiles(c, frame[c]) for c in INTEGER_COLUMNS]

    def categorical(self, frame: pl.DataFrame) -> list[npt.NDArray[np.int32]]:
        """Ids of C1..C26, int32 [n] each."""
        return [self._ids(c, frame[c]) for c in CATEGORICAL_COLUMNS]

    def _quantiles(self, column: str, series: pl.Series) -> npt.NDArray[np.float32]:
        quantiles = self.transforms[column](series.fill_null(0).to_numpy())
        if series.null_count():
            quantiles[series.is_null().to_numpy()] = _MISSING_QUANTILE
        return quantiles

    def _ids(self, column: str, series: pl.Series) -> npt.NDArray[np.int32]:
        ids = self.lookups[column].ids(series.fill_null(0).to_numpy())
        if series.null_count():
            ids[series.is_null().to_numpy()] = MISSING_ID
        return ids


def load_encoder(data: Path, manifest: Manifest) -> Encoder:
    """The fit of a finished data set, in memory, to encode raw rows with.

    Raises:
        DataSetError: a vocabulary or the quantile tables are missing or damaged.
    """
    verify_fit(data, manifest)
    tables = read_fit_tables(data, manifest)
    vocabularies = read_fit_vocabularies(data, manifest)
    return Encoder(
        transforms={column: FastTransform(tables[column].table) for column in INTEGER_COLUMNS},
        lookups={column: HashedLookup(*vocabularies[column]) for column in CATEGORICAL_COLUMNS},
    )
