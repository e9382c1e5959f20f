"""A trained run within a program: rows in, probabilities out, a row in under a millisecond."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Union

import numpy as np
import polars as pl
import torch

from criteo_stream.base.devices import DeviceName, find_device
from criteo_stream.base.errors import UsageError
from criteo_stream.predict.read_frames import from_pandas, is_pandas, read_frame
from criteo_stream.predict.read_rows import LineReader, read_dicts
from criteo_stream.predict.restore import LoadedRun, load_run
from criteo_stream.predict.row_encoder import Float32Array, RowEncoder
from criteo_stream.prepare.counts import Int64Array
from criteo_stream.sparse.graph_export import plain_operations

if TYPE_CHECKING:
    import pandas as pd

Row = str | bytes | Mapping[str, Any]
"""A raw line, or values by column."""
Rows = Union[Row, Sequence[Row], pl.DataFrame, "pd.DataFrame"]
"""What `Predictor.predict_proba` takes."""

_ROWS_AT_ONCE: Final = 1 << 16
_FEW_ROWS: Final = 256
"""Rows up to which a model that sorts nothing is faster."""


class Predictor:
    """A run's best weights and the fit that they belong to, in memory; made by `load`.

    Threads may share one: it is not changed by what it is asked.
    """

    model: str
    """Name of the model, such as ``fm``."""
    step: int
    """Training step of the weights."""
    data_fingerprint: str
    """Of the data set that the run was trained on."""
    fit_fingerprint: str
    """Of the vocabularies and quantiles that rows are encoded with."""

    def __init__(self, loaded: LoadedRun, device: torch.device) -> None:
        self._encode = RowEncoder(loaded.data, loaded.manifest)
        self._model = loaded.model.to(device).eval()
        self._device = device
        self.model = loaded.config.model
        self.step = loaded.step
        self.data_fingerprint = loaded.data_fingerprint
        self.fit_fingerprint = loaded.manifest.fit_fingerprint

    def __repr__(self) -> str:
        return f"<Predictor of {self.model}, step {self.step}, fit {self.fit_fingerprint}>"

    def predict_proba(self, rows: Rows) -> Float32Array:
        """Click probabilities float32 [rows], in the order of the rows.

        They are those of ``criteo-stream predict`` within 1e-6: the inputs of the model are the
        same to the bit, but in which order it sums depends on the number of rows.

        Args:
            rows: a raw line (text or bytes, tabs between fields, with or without its label), a
                dictionary (``{"I1": 3, "C1": "0a1b2c3d"}``: integers and texts of 8 hex digits;
                None or left out is missing), a list of either, or a frame of Polars or pandas with
                the columns I1..I13 and C1..C26.

        Raises:
            InputError: a row is malformed; says which, counted from 0, and why.
            UsageError: ``rows`` is none of these.
        """
        parts = [self._probabilities(values) for values in _values_of(rows)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.empty(0, np.float32), *parts])

    @torch.inference_mode()
    def _probabilities(self, values: Int64Array) -> Float32Array:
        numeric, categorical = (torch.from_numpy(array) for array in self._encode(values))
        with plain_operations() if len(values) <= _FEW_ROWS else nullcontext():
            logits: torch.Tensor = self._model(
                numeric.to(self._device), categorical.to(self._device)
            )
            return np.asarray(logits.sigmoid().cpu(), np.float32)


def load(
    run: Path | str,
    data: Path | str | None = None,
    *,
    device: DeviceName = "cpu",
    trust_model: bool | str = False,
) -> Predictor:
    """Load a run's best weights to ask for probabilities in a program.

    Args:
        run: folder of the run.
        data: a data set with the run's fit; default the one it was trained on. Its vocabularies and
            quantiles are read, no rows.
        device: what computes. A GPU pays for many thousand rows at a time only.
        trust_model: whether a model by its import path, which is code of whoever made the run, may
            be imported; or the only one that may.

    Raises:
        UsageError: there is no such device.
        RunError: the folder is not a run, has no sound best checkpoint, or names a model that is
            not trusted.
        DataSetError: the data set is missing, damaged, or of another fit.
    """
    found = find_device(device)
    return Predictor(load_run(run, data, trust_model=trust_model, all_values=True), found)


def _values_of(rows: Rows) -> Iterator[Int64Array]:
    """Values of some rows at a time."""
    if isinstance(rows, str | bytes | Mapping):
        rows = [rows]
    elif is_pandas(rows):
        rows = from_pandas(rows)
    if isinstance(rows, pl.DataFrame):
        for start in range(0, rows.height, _ROWS_AT_ONCE):
            yield read_frame(rows[start : start + _ROWS_AT_ONCE], start)
        if rows.is_empty():
            read_frame(rows)
        return
    if not isinstance(rows, Sequence):
        raise UsageError(
            f"rows are of type {_type(rows)}: give a raw line, a dictionary, a list of either, or "
            "a frame of Polars or pandas"
        )
    if not rows:
        return
    lines = isinstance(rows[0], str | bytes)
    kind: Any = str | bytes if lines else Mapping
    for number, row in enumerate(rows):
        if not isinstance(row, kind):
            expected = "a line, like the first one" if lines else "a line or a dictionary"
            expected = "a dictionary, like the first one" if number and not lines else expected
            raise UsageError(f"row {number} is of type {_type(row)}, expected {expected}")
    read: Any = LineReader(rows[0]) if lines else read_dicts  # type: ignore[arg-type]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield read(rows[start : start + _ROWS_AT_ONCE], start)


def _type(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
