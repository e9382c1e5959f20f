"""Raw lines in, probabilities out, in input order and bounded memory.

The one place where the two sides meet: lines are parsed and encoded with the data set's fit as
in preparing, and scored with the run's best weights as in training.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import nn

from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.progress import Progress
from criteo_stream.base.schema import LABEL
from criteo_stream.base.storage import atomic_path, make_folder
from criteo_stream.predict.restore import load_run
from criteo_stream.prepare.apply_fit import Encoder, load_encoder
from criteo_stream.prepare.beginning import read_beginning
from criteo_stream.prepare.chunks import Chunk, read_chunks
from criteo_stream.prepare.inputs import RawInput, find_inputs
from criteo_stream.prepare.layouts import layout_of
from criteo_stream.prepare.malformed import too_many_rejects
from criteo_stream.prepare.options import LayoutName, ShortLines, check_reading
from criteo_stream.prepare.parse import ParsedChunk, parse_chunk

_SUFFIXES: Final = (".parquet", ".csv")


class Scorer:
    """A model and the fit that its inputs were encoded with."""

    def __init__(self, model: nn.Module, encoder: Encoder) -> None:
        self._model = model.eval()
        self._encoder = encoder
        self._device = next(model.parameters()).device

    def inputs(self, frame: pl.DataFrame) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode parsed rows: numeric float32 [n, 13], categorical int32 [n, 26]."""
        numeric = np.stack(self._encoder.numeric(frame), axis=1)
        categorical = np.stack(self._encoder.categorical(frame), axis=1)
        return torch.from_numpy(numeric), torch.from_numpy(categorical)

    @torch.inference_mode()
    def probabilities(
        self, numeric: torch.Tensor, categorical: torch.Tensor
    ) -> npt.NDArray[np.float32]:
        """Click probabilities float32 [n] of encoded rows."""
        logits: torch.Tensor = self._model(numeric.to(self._device), categorical.to(self._device))
        return np.asarray(logits.sigmoid().cpu(), np.float32)


def predict(
    scorer: Scorer,
    raw: Sequence[str | Path],
    out: Path,
    *,
    layout: LayoutName = "auto",
    short_lines: ShortLines = "reject",
    max_bad_rows: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> int:
    """Score raw lines, with or without labels, and write them to a file.

    ``row`` is a line's place in the inputs laid end to end, from 0; malformed lines that
    ``max_bad_rows`` allows have no row in the output.

    Args:
        scorer: model and fit.
        raw: files, folders or globs, read in natural order.
        out: ``….parquet`` or ``….csv``, with columns row int64, probability float32, and label
            uint8 where the input has one.
        layout: as for preprocess.
        short_lines: ``pad`` accepts lines that are short only by trailing tabs.
        max_bad_rows: malformed lines to leave out before giving up.
        advance: told of rows as they are written.

    Returns:
        The number of rows written.

    Raises:
        UsageError: ``out`` is of an unknown kind, or one of the inputs.
        OutputError: ``out`` is a file that holds no predictions.
        InputError: an input is missing, damaged or malformed.
    """
    if out.suffix not in _SUFFIXES:
        raise UsageError(f"{out} must end in {' or '.join(_SUFFIXES)}")
    sources = find_inputs(raw)
    _refuse_to_replace(out, sources)
    inputs = [read_beginning(source) for source in sources]
    form = layout_of(inputs, layout)

    def encode(chunk: Chunk) -> tuple[Chunk, ParsedChunk, tuple[torch.Tensor, torch.Tensor]]:
        parsed = parse_chunk(chunk, form, pad_short_lines=short_lines == "pad")
        return chunk, parsed, scorer.inputs(parsed.frame)

    rows = first_row = rejected = 0
    make_folder(out.parent)
    workers = len(os.sched_getaffinity(0))
    with atomic_path(out, shared=True) as partial, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers, "predict"))
        writer = stack.enter_context(_writer(partial, out.suffix, labelled=form.labelled))
        for beginning in inputs:
            chunks = read_chunks(beginning)
            lines = 0
            for chunk, parsed, encoded in ordered_map(pool, encode, chunks, workers + 1):
                rejected += parsed.rejected
                if rejected > max_bad_rows:
                    raise too_many_rejects(parsed.rejects[0], rejected, max_bad_rows)
                columns: dict[str, npt.NDArray[Any]] = {
                    "row": first_row + parsed.line_numbers - 1,
                    "probability": scorer.probabilities(*encoded),
                }
                if form.labelled:
                    columns[LABEL] = parsed.frame[LABEL].to_numpy()
                writer.write(pa.table(columns, schema=_schema(labelled=form.labelled)))
                rows += parsed.frame.height
                lines = chunk.end.lines
                advance(parsed.frame.height)
            first_row += lines
    return rows


def _refuse_to_replace(out: Path, sources: Sequence[RawInput]) -> None:
    """Refuse to overwrite anything but earlier predictions."""
    if not out.exists():
        return
    if any(out.samefile(source.path) for source in sources):
        raise UsageError(f"--out {out} is one of the inputs: choose another --out")
    if not _holds_predictions(out):
        raise OutputError(f"{out} exists and holds no predictions: choose another --out")


def _holds_predictions(path: Path) -> bool:
    names = _schema(labelled=True).names
    try:
        if path.suffix == ".csv":
            with path.open("rb") as file:
                found = [name.strip('"') for name in file.readline(200).decode().strip().split(",")]
        else:
            found = pq.read_schema(path).names
    except (OSError, ValueError):  # Arrow's errors are both
        return False
    return found in (names, names[:-1])


def _schema(*, labelled: bool) -> pa.Schema:
    fields = [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),
    ]
    if labelled:
        fields.append(pa.field(LABEL, pa.uint8(), nullable=False))
    return pa.schema(fields)


def _writer(path: Path, suffix: str, *, labelled: bool) -> Any:
    schema = _schema(labelled=labelled)
    if suffix == ".csv":
        return pyarrow.csv.CSVWriter(path, schema)
    return pq.ParquetWriter(path, schema)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Raw lines that were scored."""

    out: Path
    rows: int
    seconds: float
    rows_per_second: int

    def to_dict(self) -> dict[str, object]:
        """Plain values by name, as ``--json`` prints them."""
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
            "out": str(self.out),
        }


def predict_run(
    run: Path | str,
    raw: Sequence[str | Path],
    out: Path,
    *,
    data: Path | str | None = None,
    layout: LayoutName = "auto",
    short_lines: ShortLines = "reject",
    max_bad_rows: int = 0,
    quiet: bool = False,
) -> Predictions:
    """Score raw lines with a run's best weights.

    Args:
        run: folder of the run.
        raw: files, folders or globs.
        out: ``….parquet`` or ``….csv``.
        data: a data set with the run's fit; default the one it was trained on.
        layout: as for preprocess.
        short_lines: ``pad`` accepts lines that are short only by trailing tabs.
        max_bad_rows: malformed lines to leave out before giving up.
        quiet: show no progress.

    Raises:
        UsageError: an option makes no sense.
        RunError: the folder is not a run, or has no sound best checkpoint.
        DataSetError: the data set is missing or of another fit.
        InputError: a raw input is missing, damaged or malformed.
    """
    check_reading(layout=layout, short_lines=short_lines, max_bad_rows=max_bad_rows)
    loaded = load_run(run, data)
    scorer = Scorer(loaded.model, load_encoder(loaded.data, loaded.manifest))
    start = time.perf_counter()
    with Progress("predict", None, quiet=quiet) as bar:
        rows = predict(
            scorer,
            raw,
            out,
            layout=layout,
            short_lines=short_lines,
            max_bad_rows=max_bad_rows,
            advance=bar.advance,
        )
    seconds = time.perf_counter() - start
    return Predictions(
        out=out,
        rows=rows,
        seconds=round(seconds, 3),
        rows_per_second=round(rows / seconds),
    )
