"""Raw lines in, probabilities out, in input order and bounded memory.

The one place where the two sides meet: lines are parsed and encoded with the data set's fit as
in preparing, and scored with the run's best weights as in training.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import nn

from criteo_stream.base.devices import find_device
from criteo_stream.base.errors import UsageError
from criteo_stream.base.parallel import ordered_map
from criteo_stream.base.paths import user_path
from criteo_stream.base.progress import Progress
from criteo_stream.base.schema import BLOCK_ROWS
from criteo_stream.base.storage import atomic_path, make_folder
from criteo_stream.base.system import cores
from criteo_stream.predict.prediction_file import (
    FORMATS,
    PredictionFormat,
    open_writer,
    refuse_to_replace,
    rejected_file,
    schema_of,
    table_of,
)
from criteo_stream.predict.restore import load_run
from criteo_stream.prepare.announce import order_text
from criteo_stream.prepare.apply_fit import Encoder, load_encoder
from criteo_stream.prepare.options import LayoutName, ShortLines, check_reading
from criteo_stream.raw.chunks import Chunk, read_chunks
from criteo_stream.raw.detect_layout import layout_of
from criteo_stream.raw.malformed import FirstRejects, too_many_rejects, write_rejects
from criteo_stream.raw.parse import ParsedChunk, parse_chunk
from criteo_stream.raw.take_inputs import take_inputs


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


class Scored(NamedTuple):
    """Lines that were scored, and lines that were left out."""

    rows: int
    rejected: int
    """Malformed lines; they have no row in the output."""
    rejected_listed: int
    """Those of them that `rejected_file` lists."""


def predict(
    scorer: Scorer,
    raw: Sequence[str | Path],
    out: Path,
    *,
    layout: LayoutName = "auto",
    short_lines: ShortLines = "reject",
    max_bad_rows: int = 0,
    output_format: PredictionFormat = "rows",
    advance: Callable[[int], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Scored:
    """Score raw lines, with or without labels, and write them to a file.

    ``row`` is a line's place in the inputs laid end to end, from 0; malformed lines that
    ``max_bad_rows`` allows have no row in the output, and are listed beside it.

    Args:
        scorer: model and fit.
        raw: files, folders or globs, see `find_inputs` for their order; ``-`` and pipes are read
            as streams.
        out: ``….parquet`` or ``….csv``, with columns row int64, probability float32, and label
            uint8 and Id int64 where the input has them.
        layout: as for preprocess.
        short_lines: ``pad`` accepts lines that are short only by trailing tabs.
        max_bad_rows: malformed lines to leave out before giving up.
        output_format: ``kaggle`` writes the columns Id and Predicted of a Kaggle submission as
            CSV; ids that the inputs lack are numbered from 60,000,000 as in Kaggle's test set.
        advance: told of rows as they are written.
        tell: hears of the order of the inputs, and of what is passed over and holds no rows.
        warn: hears of folders that are passed over.

    Raises:
        UsageError: ``out`` is of an unknown kind, or one of the inputs.
        OutputError: ``out`` is a file that holds no predictions.
        InputError: an input is missing, damaged or malformed.
    """
    inputs = take_inputs(raw, streams=True, tell=tell, warn=warn)
    refuse_to_replace(out, [beginning.source for beginning in inputs], output_format)
    form = layout_of(inputs, layout)
    if len(inputs) > 1:
        tell(order_text(inputs))

    def encode(chunk: Chunk) -> tuple[Chunk, ParsedChunk, tuple[torch.Tensor, torch.Tensor]]:
        pad = short_lines == "pad"
        parsed = parse_chunk(chunk, form, pad_short_lines=pad, keep_id=True)
        return chunk, parsed, scorer.inputs(parsed.frame)

    rows = first_row = rejected = 0
    rejects = FirstRejects()
    schema = schema_of(form, output_format)
    make_folder(out.parent)
    workers = cores()
    with atomic_path(out, shared=True) as partial, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers, "predict"))
        writer = stack.enter_context(open_writer(partial, out.suffix, schema))
        for beginning in inputs:
            chunks = read_chunks(beginning)
            lines = 0
            for chunk, parsed, encoded in ordered_map(pool, encode, chunks, workers + 1):
                rejected += parsed.rejected
                if rejected > max_bad_rows:
                    raise too_many_rejects(parsed.rejects[0], rejected, max_bad_rows)
                rejects.add(str(beginning.source), chunk.first_line // BLOCK_ROWS, parsed.rejects)
                places = first_row + parsed.line_numbers - 1
                probabilities = scorer.probabilities(*encoded)
                writer.write(table_of(schema, places, probabilities, parsed.frame))
                rows += parsed.frame.height
                lines = chunk.first_line + chunk.lines
                advance(parsed.frame.height)
            first_row += lines
    rejected_file(out).unlink(missing_ok=True)
    write_rejects(rejected_file(out), rejects.found)
    return Scored(rows, rejected, len(rejects.found))


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Raw lines that were scored."""

    out: Path
    rows: int
    seconds: float
    rows_per_second: int
    rejected: int = 0
    """Malformed lines that were left out."""
    rejected_listed: int = 0
    """Those of them that are listed in ``OUT.rejected.jsonl``."""
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        """Plain values by name, as ``--json`` prints them."""
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
            "rejected": self.rejected,
            "rejected_listed": self.rejected_listed,
            "out": str(self.out),
            "warnings": self.warnings,
        }


def predict_run(
    run: Path | str,
    raw: str | Path | Sequence[str | Path],
    out: Path | str,
    *,
    data: Path | str | None = None,
    device: str = "auto",
    layout: LayoutName = "auto",
    short_lines: ShortLines = "reject",
    max_bad_rows: int = 0,
    output_format: PredictionFormat = "rows",
    trust_model: bool | str = False,
    quiet: bool = False,
) -> Predictions:
    """Score raw lines with a run's best weights.

    Args:
        run: folder of the run.
        raw: files, folders or globs; ``-`` is standard input.
        out: ``….parquet`` or ``….csv``.
        data: a data set with the run's fit; default the one it was trained on.
        device: what computes, a `DeviceName`.
        layout: as for preprocess.
        short_lines: ``pad`` accepts lines that are short only by trailing tabs.
        max_bad_rows: malformed lines to leave out before giving up.
        output_format: ``rows``, or ``kaggle`` for a Kaggle submission as CSV, see `predict`.
        trust_model: whether a recorded model by import path may be imported, see `load_run`.
        quiet: show no progress.

    Raises:
        UsageError: an option makes no sense.
        RunError: the folder is not a run, or has no sound best checkpoint.
        DataSetError: the data set is missing or of another fit.
        InputError: a raw input is missing, damaged or malformed.
    """
    check_reading(layout=layout, short_lines=short_lines, max_bad_rows=max_bad_rows)
    if output_format not in FORMATS:
        raise UsageError(f"--format {output_format} is not known: use {' or '.join(FORMATS)}")
    found_device = find_device(device)
    loaded = load_run(run, data, trust_model=trust_model, all_values=True)
    scorer = Scorer(loaded.model.to(found_device), load_encoder(loaded.data, loaded.manifest))
    out = user_path(out)
    warnings: list[str] = []
    start = time.perf_counter()
    with Progress("predict", None, quiet=quiet) as bar:

        def warn(text: str) -> None:
            warnings.append(text)
            bar.write(text)

        found = predict(
            scorer,
            [raw] if isinstance(raw, str | Path) else raw,
            out,
            layout=layout,
            short_lines=short_lines,
            max_bad_rows=max_bad_rows,
            output_format=output_format,
            advance=bar.advance,
            tell=bar.write,
            warn=warn,
        )
    seconds = time.perf_counter() - start
    return Predictions(
        out=out,
        rows=found.rows,
        seconds=round(seconds, 3),
        rows_per_second=round(found.rows / seconds),
        rejected=found.rejected,
        rejected_listed=found.rejected_listed,
        warnings=warnings,
    )
